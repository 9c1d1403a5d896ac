//! Bytes decoded into settings, shapes and values are refused or work, and never panic.

use do_conv::operator::{Compose, Conv2dGradientsMut, Convolve};
use do_conv::{
    Algorithm, Composition, Conv2d, DoConv2d, DoConv2dConfig, Padding, PaddingMode, Pairing,
};
use ndarray::{Array, Array1, Array3, Array4, Dimension, IntoDimension};

use crate::draw::Draw;
use crate::runner::{Outcome, Promise};

/// The promise.
#[derive(Debug)]
pub struct Bytes;

impl Promise for Bytes {
    type Case = Vec<u8>;

    fn name(&self) -> &'static str {
        "bytes"
    }

    fn measure(&self) -> &'static str {
        "most calls accepted"
    }

    fn case(&self, draw: &mut Draw) -> Vec<u8> {
        let len = draw.within(0..=200);
        (0..len).map(|_| draw.next() as u8).collect()
    }

    fn check(&self, case: &Vec<u8>) -> Outcome {
        Ok(run(&mut Reader { bytes: case, at: 0 }))
    }

    fn smaller(&self, case: &Vec<u8>) -> Vec<Vec<u8>> {
        let mut found = vec![case[..case.len() / 2].to_vec()];
        found.push(case[..case.len().saturating_sub(1)].to_vec());
        for (index, &byte) in case.iter().enumerate().filter(|(_, byte)| **byte > 0) {
            for next in [0, byte / 2, byte - 1] {
                let mut smaller = case.clone();
                smaller[index] = next;
                found.push(smaller);
            }
        }
        found.retain(|smaller| smaller != case);
        found
    }

    fn describe(&self, case: &Vec<u8>) -> String {
        let decoded = Reader { bytes: case, at: 0 }.config();
        format!("bytes {case:?}: {decoded:?}")
    }
}

/// Reads bytes, zeros after the last.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte.into()
    }

    /// A small number, rarely 0 and rarely larger.
    fn size(&mut self) -> usize {
        match self.byte() {
            0..=3 => 0,
            byte @ 4..=15 => byte,
            byte => byte % 4 + 1,
        }
    }

    fn pair(&mut self) -> [usize; 2] {
        [self.size(), self.size()]
    }

    fn config(&mut self) -> DoConv2dConfig {
        let groups = self.byte() % 4;
        let channels = [self.size(), self.size()].map(|channels| match self.byte() {
            0..=19 => channels,
            _ => channels * groups,
        });
        let config = DoConv2dConfig::new(channels[0], channels[1], self.pair())
            .groups(groups)
            .stride(self.pair())
            .dilation(self.pair())
            .bias(self.byte().is_multiple_of(2))
            .padding(match self.byte() % 4 {
                0 => Padding::Valid,
                1 => Padding::Same,
                _ => Padding::Explicit([self.pair(), self.pair()]),
            })
            .padding_mode(match self.byte() % 4 {
                0 => PaddingMode::Zeros,
                1 => PaddingMode::Reflect,
                2 => PaddingMode::Replicate,
                _ => PaddingMode::Circular,
            })
            .pairing(match self.byte() % 3 {
                0 => Pairing::InputChannel,
                1 => Pairing::PyTorch,
                _ => Pairing::TensorFlow,
            })
            .composition(match self.byte() % 3 {
                0 => Composition::Kernel,
                1 => Composition::Feature,
                _ => Composition::Auto,
            })
            .algorithm(Algorithm::ALL[self.byte() % 3]);
        match self.byte() {
            byte @ 0..=63 => config.d_mul(byte),
            _ => config,
        }
    }

    /// The shape that is right, or rarely another one.
    fn shape<const N: usize>(&mut self, right: [usize; N]) -> [usize; N] {
        let wrong = self.byte();
        let mut shape = right;
        if (1..=10).contains(&wrong) {
            shape[wrong % N] = self.size();
        }
        shape
    }

    /// Values from the bytes' bits, repeated.
    fn array<D: Dimension>(&mut self, shape: impl IntoDimension<Dim = D>) -> Array<f32, D> {
        let mut words: Vec<f32> = Vec::new();
        for _ in 0..self.byte() % 8 + 1 {
            let bits = [self.byte(), self.byte(), self.byte(), self.byte()].map(|byte| byte as u8);
            words.push(f32::from_le_bytes(bits));
        }
        let mut next = words.into_iter().cycle();
        Array::from_shape_simple_fn(shape.into_dimension(), || next.next().unwrap_or(0.0))
    }
}

/// Calls everything; gives the number of calls that were accepted.
fn run(reader: &mut Reader) -> f64 {
    let config = reader.config();
    let conv = &config.conv;
    let [rows, cols] = conv.kernel_size;
    let inputs = conv.in_channels / conv.groups.max(1);
    let taps = rows * cols;
    let depth = if taps == 1 { 1 } else { config.d_mul.unwrap_or(taps) };
    let input = [reader.size(), conv.in_channels, reader.size() * 2, reader.size() * 2];
    let input = reader.shape(input);
    let Ok(convolve) = Convolve::<f32>::new(conv) else {
        // Nothing can be made of it.
        return f64::from(u8::from(config.init::<f32>(0).is_ok()));
    };
    let output = convolve.output_shape(input).unwrap_or([1, conv.out_channels, 1, 1]);
    let work = output.iter().product::<usize>() * inputs * taps.max(depth) * taps;
    if work + conv.out_channels * inputs * taps * depth > 8_000_000 {
        return 0.0;
    }
    let shape = reader.shape([conv.out_channels, inputs, rows, cols]);
    let weight: Array4<f32> = reader.array(shape);
    let shape = reader.shape([conv.out_channels]);
    let bias: Array1<f32> = reader.array(shape);
    let bias = if conv.bias == (reader.byte() != 1) { Some(bias) } else { None };
    let shape = reader.shape([conv.out_channels, inputs, depth]);
    let w: Array3<f32> = reader.array(shape);
    let shape = reader.shape([conv.in_channels, taps, depth]);
    let offset: Array3<f32> = reader.array(shape);
    let x: Array4<f32> = reader.array(input);
    let shape = reader.shape(output);
    let dy: Array4<f32> = reader.array(shape);

    let mut accepted = 0;
    let mut count = |ok: bool| accepted += u8::from(ok);
    let mut y = dy.clone();
    let own = bias.as_ref().map(|bias| bias.view());
    count(convolve.forward_into(x.view(), weight.view(), own, y.view_mut()).is_ok());
    let (mut dx, mut dweight) = (x.clone(), weight.clone());
    let gradients =
        Conv2dGradientsMut { x: Some(dx.view_mut()), weight: Some(dweight.view_mut()), bias: None };
    count(convolve.backward_into(x.view(), weight.view(), dy.view(), gradients).is_ok());
    if let Ok(layer) = Conv2d::from_parameters(conv.clone(), weight.clone(), bias.clone()) {
        count(layer.forward(&x).is_ok());
        count(layer.backward(&x, &dy).is_ok());
        count(layer.forward(&dy).is_ok());
        count(DoConv2d::from_conv2d(&layer, config.d_mul).is_ok());
    }
    if let Ok(compose) = Compose::new(&config) {
        let mut weight = weight.clone();
        count(compose.forward_into(offset.view(), w.view(), weight.view_mut()).is_ok());
        let (mut doffset, mut dw) = (offset.clone(), w.clone());
        let places = (doffset.view_mut(), dw.view_mut());
        let gradient = weight.view();
        count(compose.backward_into(offset.view(), w.view(), gradient, places.0, places.1).is_ok());
    }
    let offset = (taps > 1).then_some(offset);
    if let Ok(layer) = DoConv2d::from_parameters(config, offset, w, bias) {
        count(layer.forward(&x).is_ok());
        if let Ok(y) = layer.forward(&x) {
            count(layer.backward(&x, &dy).is_ok());
            count(layer.backward(&x, &y).is_ok());
        }
        count(layer.fold().forward(&x).is_ok());
    }
    f64::from(accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cases_get_through() {
        let outcomes =
            (0..3000).map(|index| Bytes.check(&Bytes.case(&mut Draw::new(2, "bytes", index))));
        let outcomes: Vec<f64> = outcomes.map(|outcome| outcome.expect("a promise kept")).collect();
        let full = outcomes.iter().filter(|&&accepted| accepted > 5.0).count();
        let refused = outcomes.iter().filter(|&&accepted| accepted == 0.0).count();
        assert!(full > 100 && refused > 100, "{full} run, {refused} are refused, of 3000");
    }
}
