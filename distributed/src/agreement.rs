//! What all ranks must have in common before they train.

use crate::error::{Error, Result};
use crate::link::Link;

/// What a training is, by names: only with the same facts do ranks train the same net on the same images.
pub type Facts = Vec<(&'static str, String)>;

/// Checks that all ranks have the same facts.
///
/// # Errors
/// For the first rank whose facts differ from rank 0's: which one, both values. Every rank has that error.
pub fn agree(link: &Link, facts: &Facts) -> Result<()> {
    let lines: String = facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let all = link.gather(lines.into_bytes());
    let texts: Vec<_> = all.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect();
    for (rank, text) in texts.iter().enumerate() {
        if let Some((expected, got)) = difference(&texts[0], text) {
            return Err(Error::common(format!(
                "rank {rank}: expected {expected}, as rank 0, got {got}"
            )));
        }
    }
    Ok(())
}

/// The first lines that differ.
pub(crate) fn difference<'a>(expected: &'a str, got: &'a str) -> Option<(&'a str, &'a str)> {
    let mut lines = (expected.lines(), got.lines());
    loop {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => return None,
            (expected, got) if expected == got => {}
            (expected, got) => {
                return Some((expected.unwrap_or("nothing"), got.unwrap_or("nothing")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Peers;
    use crate::exchange::tests::on_each;
    use crate::link::join;

    fn outcome(facts: [&'static str; 4]) -> Vec<Result<()>> {
        on_each(4, |mut peers| {
            let facts =
                vec![("net", "residual".to_owned()), ("version", facts[peers.rank()].to_owned())];
            join(&mut peers, |link| agree(link, &facts))
        })
    }

    #[test]
    fn every_rank_knows_which_one_differs() {
        assert_eq!(outcome(["1.0"; 4]), [(); 4].map(Ok));
        let error = Error::common("rank 2: expected version: 1.0, as rank 0, got version: 1.1");
        assert_eq!(outcome(["1.0", "1.0", "1.1", "1.2"]), [(); 4].map(|()| Err(error.clone())));
        assert!(error.is_common());
    }

    #[test]
    fn a_fact_more_is_a_difference() {
        assert_eq!(difference("a: 1\n", "a: 1\nb: 2\n"), Some(("nothing", "b: 2")));
        assert_eq!(difference("a: 1\nb: 2\n", "a: 1\n"), Some(("b: 2", "nothing")));
    }
}
