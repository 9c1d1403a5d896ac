//! What cells are called: by those options that differ.

use crate::record::{Kind, RunConfig, name};
use crate::report::cells::Cell;

/// Each cell's net, if there are several, its kind, and those of its options that differ between cells of a net.
pub fn labels(cells: &[Cell]) -> Vec<String> {
    let configs: Vec<_> = cells.iter().map(|cell| &cell.config).collect();
    named(&configs, true)
}

/// The options that differ between configurations.
pub fn what_differs(configs: &[&RunConfig]) -> Vec<String> {
    named(configs, false)
}

/// What a configuration has for an option: none where its kind lacks the option.
type Describe = fn(&RunConfig) -> Option<String>;

/// How many of the options tell nets and their images apart.
const OF_NETS: usize = 3;

/// In the order of a label, and whether a label has it in any case.
const OPTIONS: [(Describe, bool); 16] = [
    (|config| Some(config.data.clone()), false),
    (|config| Some(name(&config.task)), false),
    (|config| Some(name(&config.net)), false),
    (|config| Some(counted(config.blocks, "block")), false),
    (|config| Some(name(&config.kind)), true),
    (|config| of_do_conv(config, format!("d_mul {}", config.d_mul)), false),
    (|config| of_do_conv(config, name(&config.d_init)), false),
    (|config| of_do_conv(config, decay(config).to_owned()), false),
    (|config| not_plain(config, format!("replaced {}", name(&config.replaced))), false),
    (|config| Some(config.algorithm.clone()), false),
    (|config| Some(format!("learning rate {}", config.learning_rate)), false),
    (|config| Some(format!("{} rate", name(&config.schedule))), false),
    (|config| Some(format!("weight decay {}", config.weight_decay)), false),
    (|config| Some(format!("batch {}", config.batch)), false),
    (|config| Some(counted(config.epochs, "epoch")), false),
    (|config| Some(config.images.map_or("all images".into(), |n| counted(n, "image"))), false),
];

fn of_do_conv(config: &RunConfig, value: String) -> Option<String> {
    (config.kind == Kind::DoConv).then_some(value)
}

fn not_plain(config: &RunConfig, value: String) -> Option<String> {
    (config.kind != Kind::Plain).then_some(value)
}

/// Short of words where it is on, as labels are long.
fn decay(config: &RunConfig) -> &'static str {
    if config.decay_offset { "" } else { "no decay of D" }
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `always` also names what labels have in any case.
fn named(configs: &[&RunConfig], always: bool) -> Vec<String> {
    let differs = |describe: &Describe, configs: &[&RunConfig]| {
        let mut values = configs.iter().filter_map(|config| describe(config));
        values.next().is_some_and(|first| values.any(|value| value != first))
    };
    let of_net = |config: &RunConfig| -> Vec<&RunConfig> {
        let same = |other: &&&RunConfig| (other.task, other.net) == (config.task, config.net);
        configs.iter().filter(same).copied().collect()
    };
    // What each net has but one of says nothing beside the net.
    let is_shown = |(at, (describe, forced)): &(usize, (Describe, bool))| {
        always && *forced
            || *at < OF_NETS && differs(describe, configs)
            || configs.iter().any(|config| differs(describe, &of_net(config)))
    };
    let shown = OPTIONS.into_iter().enumerate().filter(is_shown);
    let shown: Vec<Describe> = shown.map(|(_, (describe, _))| describe).collect();
    let name = |config: &&RunConfig| {
        let values = shown.iter().filter_map(|describe| describe(config));
        values.filter(|value| !value.is_empty()).collect::<Vec<_>>().join(", ")
    };
    configs.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DMul, DStart, NetKind, Replaced};
    use crate::report::cells::group;
    use crate::report::sample::{config, do_conv, run};

    fn labels_of(configs: &[RunConfig]) -> Vec<String> {
        let runs: Vec<_> = configs.iter().map(|config| run(config, 1, &[50.0])).collect();
        labels(&group(&runs))
    }

    #[test]
    fn labels_name_what_differs() {
        let nets = [
            config(),
            RunConfig { d_mul: DMul::Times(2), d_init: DStart::Random, ..do_conv() },
            RunConfig { kind: Kind::Separable, net: NetKind::Plain, ..config() },
            RunConfig { decay_offset: false, ..do_conv() },
        ];
        let expected = [
            "resnet-v1, plain",
            "resnet-v1, do-conv, d_mul 2mn, random",
            "plain, separable",
            "resnet-v1, do-conv, d_mul mn, identity, no decay of D",
        ];
        assert_eq!(labels_of(&nets), expected);
        // What follows from the net isn't named.
        let other = RunConfig { net: NetKind::Plain, learning_rate: 0.01, ..config() };
        assert_eq!(labels_of(&[config(), other]), ["resnet-v1, plain", "plain, plain"]);

        let replaced = RunConfig { replaced: Replaced::Stem, images: Some(1), ..do_conv() };
        let expected = [
            "plain, all images",
            "do-conv, replaced stem, 1 image",
            "do-conv, replaced all, all images",
        ];
        assert_eq!(labels_of(&[config(), replaced, do_conv()]), expected);
        assert_eq!(labels_of(&[]), [""; 0]);
    }

    /// An option without a name would give two cells one label.
    #[test]
    fn every_option_has_a_name() -> Result<(), serde_json::Error> {
        let fields = serde_json::to_value(config())?;
        let but_the_seed = fields.as_object().map(|fields| fields.len() - 1);
        assert_eq!(but_the_seed, Some(OPTIONS.len()));
        Ok(())
    }
}
