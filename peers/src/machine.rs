//! What the numbers were measured on and with.

use crate::contenders::Torch;
use crate::data::Element;

const LOCK_FILE: &str = include_str!("../Cargo.lock");
const CRATES: [&str; 5] = ["do-conv", "rten", "burn-flex", "candle-core", "gemm"];

/// A line with processor, threads, element type, versions and time.
pub fn describe<T: Element>(threads: usize, torch: Option<&Torch>) -> String {
    let instructions = do_conv::instruction_set();
    let crates = CRATES.map(|name| format!("{name} {}", version(name).unwrap_or("?"))).join(", ");
    let torch = torch.map_or(String::new(), |torch| format!(", torch {}", torch.version()));
    let plural = if threads == 1 { "" } else { "s" };
    let element = T::NAME;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    format!(
        "{} ({instructions}), {threads} thread{plural}, {element}; {crates}{torch}; {now}",
        processor()
    )
}

/// The locked version of a crate.
fn version(name: &str) -> Option<&'static str> {
    let (_, after) = LOCK_FILE.split_once(&format!("\nname = \"{name}\"\nversion = \""))?;
    after.split('"').next()
}

/// The processor's name and, since virtual machines hide models behind one name, its numbers.
fn processor() -> String {
    let description = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        description.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    let name = field("model name").unwrap_or(std::env::consts::ARCH);
    match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name}, family {family} model {model}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_lock_file() {
        for name in CRATES {
            assert!(version(name).is_some(), "{name}");
        }
        assert_eq!(version("no such crate"), None);
    }
}
