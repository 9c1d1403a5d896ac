//! One hash of the bits of many layers' results, to compare versions of the crate by.

use std::ops::Range;

use do_conv::Scalar;

use crate::bits::{Results, bits};
use crate::case::Case;
use crate::draw::Draw;
use crate::layers::{arrays, runnable};
use crate::runner::pool;

/// FNV-1a, 64 bits (Fowler, Noll and Vo; RFC 9923), of whole words.
struct Hash(u64);

impl Hash {
    fn add(&mut self, bits: &[u64]) {
        for byte in bits.iter().flat_map(|word| word.to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Prints the hash of the layers of these numbers; whether all could be computed.
pub fn print(seed: u64, layers: Range<u64>) -> bool {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    let mut computed = 0;
    for index in layers {
        let case = runnable(&mut Draw::new(seed, "hash", index));
        let result = pool(case.threads).install(|| match case.double {
            true => add::<f64>(&mut hash, &case),
            false => add::<f32>(&mut hash, &case),
        });
        match result {
            Ok(has_output) => computed += u64::from(has_output),
            Err(error) => {
                println!("FAILED: layer {index} of seed {seed}: {error}");
                return false;
            }
        }
    }
    println!("{computed} layers with an output, hash {:016x}", hash.0);
    true
}

/// Adds what a layer and its fold give, if it has an output for its input.
fn add<T: Scalar>(hash: &mut Hash, case: &Case) -> Result<bool, String> {
    if case.output().is_none() || !case.is_layer() {
        return Ok(false);
    }
    let text = |error: do_conv::Error| error.to_string();
    let (layer, x, dy) = arrays::<T>(case, &case.inputs(Draw::real))?;
    Results::of(&layer, &x, &dy)?.iter().for_each(|(_, bits)| hash.add(bits));
    let conv = layer.fold();
    hash.add(&bits(conv.forward(&x).map_err(text)?.view()));
    let gradients = conv.backward(&x, &dy).map_err(text)?;
    hash.add(&bits(gradients.weight.view()));
    gradients.x.into_iter().for_each(|dx| hash.add(&bits(dx.view())));
    gradients.bias.into_iter().for_each(|db| hash.add(&bits(db.view())));
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        let mut hash = Hash(0xcbf2_9ce4_8422_2325);
        hash.add(&[0]);
        // Eight zero bytes: the basis times the prime, eight times.
        let expected =
            (0..8).fold(0xcbf2_9ce4_8422_2325u64, |hash, _| hash.wrapping_mul(0x0100_0000_01b3));
        assert_eq!(hash.0, expected);
        hash.add(&[1]);
        assert_ne!(hash.0, expected);
    }
}
