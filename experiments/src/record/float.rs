//! Numbers in JSON that can be read back whatever they are.
//!
//! JSON has no word for a loss that isn't finite, as after a diverged training; `serde_json` writes `null` and doesn't
//! read that as a number. Here such numbers are texts: `"NaN"`, `"inf"`, `"-inf"`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or its text")]
enum Float {
    Number(f64),
    Text(String),
}

pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.collect_str(value) }
}

pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    match Float::deserialize(source)? {
        Float::Number(value) => Ok(value),
        Float::Text(text) => text
            .parse()
            .map_err(|_| D::Error::custom(format!("expected a number, found the text {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::record::RunResult;
    use crate::report::sample::{config, diverged, do_conv, run};

    #[test]
    fn numbers_come_back() -> Result<(), serde_json::Error> {
        let mut lost = diverged(&config(), 1);
        (lost.metric, lost.folded_metric) = (f64::NEG_INFINITY, f64::NAN);
        for run in [run(&do_conv(), u64::MAX, &[0.1 + 0.2, 1e-300, f64::MAX, 70.0]), lost] {
            let json = serde_json::to_string(&run)?;
            let read: RunResult = serde_json::from_str(&json)?;
            // Unlike NaN, its text equals itself.
            assert_eq!(serde_json::to_string(&read)?, json);
            assert_eq!(read.metric.to_bits(), run.metric.to_bits());
        }
        Ok(())
    }

    #[test]
    fn other_texts_are_refused() -> Result<(), serde_json::Error> {
        let json = serde_json::to_string(&run(&config(), 1, &[70.0]))?;
        let other = json.replacen("\"metric\":70.0", "\"metric\":\"much\"", 1);
        assert_ne!(other, json);
        let error = serde_json::from_str::<RunResult>(&other).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.contains("expected a number, found the text")));
        Ok(())
    }
}
