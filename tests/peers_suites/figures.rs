//! Numbers that the peers' tests state for small cases, against which the oracle is checked, and where
//! they are whole the crate too. The inputs count up from zero or are ones unless they are given.

use ndarray::{Array, Dimension};

use crate::common::{Inputs, oracle};
use crate::row::{Row, line, row};
use crate::run;

/// The values of an array.
#[derive(Clone, Copy)]
enum Values {
    Count,
    Ones,
    These(&'static [f64]),
}

use Values::{Count, Ones, These};

impl Values {
    fn fill<D: Dimension>(self, array: &mut Array<f64, D>) {
        let len = array.len();
        let given = |index: usize| match self {
            Count => index as f64,
            Ones => 1.0,
            These(values) => {
                assert_eq!(values.len(), len);
                values[index]
            }
        };
        array.iter_mut().enumerate().for_each(|(index, value)| *value = given(index));
    }
}

/// Outputs of a case: their name, the index of the first element that is stated, and the numbers.
type Stated = (&'static str, usize, &'static [f64]);

struct Figures {
    row: Row,
    x: Values,
    weight: Values,
    bias: Values,
    dy: Values,
    /// The numbers are right to this: 0 for whole numbers, half a unit of the last digit for others.
    within: f64,
    stated: Vec<Stated>,
}

impl Figures {
    /// The inputs, with `D` at the identity.
    fn inputs(&self) -> Inputs {
        let mut inputs = self.row.problem.inputs(|| 0.0);
        self.x.fill(&mut inputs.x);
        self.weight.fill(&mut inputs.w);
        self.dy.fill(&mut inputs.dy);
        if let Some(bias) = &mut inputs.bias {
            self.bias.fill(bias);
        }
        inputs
    }
}

#[test]
fn numbers_that_peers_state() {
    let mut all = burn_forward();
    all.extend(burn_gradients());
    all.extend(onnx());
    all.extend(real_numbers());
    for figures in all {
        let (inputs, source) = (figures.inputs(), &figures.row.source);
        let solved = oracle::solve(&figures.row.problem, &inputs);
        for (name, start, stated) in &figures.stated {
            let (_, output) = solved.iter().find(|(found, _)| found == name).unwrap();
            let got: Vec<f64> = output.iter().skip(*start).take(stated.len()).copied().collect();
            assert_eq!(got.len(), stated.len(), "{source}: {name}");
            for (got, stated) in got.iter().zip(*stated) {
                let difference = (got - stated).abs();
                assert!(difference <= figures.within, "{source}: {name}: {got}, stated {stated}");
            }
        }
        if figures.within == 0.0 {
            run::plain(&figures.row, &inputs, &solved);
        }
    }
}

/// Outputs and gradients of their sum, where all inputs count.
fn counted(row: Row, stated: Vec<Stated>) -> Figures {
    Figures { row, x: Count, weight: Count, bias: Count, dy: Ones, within: 0.0, stated }
}

fn gradients(row: Row, dx: &'static [f64], dw: &'static [f64]) -> Figures {
    counted(row, vec![("dx", 0, dx), ("dw", 0, dw)])
}

/// An output to four digits, with ones for a bias.
fn rounded(row: Row, x: &'static [f64], weight: &'static [f64], y: &'static [f64]) -> Figures {
    let (x, weight, stated) = (These(x), These(weight), vec![("y", 0, y)]);
    Figures { row, x, weight, bias: Ones, dy: Ones, within: 0.5e-4, stated }
}

/// The first and the last channels where there are many.
#[rustfmt::skip]
fn burn_forward() -> Vec<Figures> {
    let y = |start, stated: &'static [f64]| ("y", start, stated);
    vec![
        counted(row("burn test_conv2d_simple", [1, 2, 4, 4], [2, 2, 3, 3]).pad(1, 1), vec![y(0, &[
            1196., 1796., 1916., 1264., 1881., 2793., 2946., 1923.,
            2313., 3405., 3558., 2307., 1424., 2072., 2156., 1380.,
            2709., 4173., 4509., 3065., 4582., 7006., 7483., 5056.,
            5878., 8914., 9391., 6304., 4089., 6177., 6477., 4333.,
        ])]),
        counted(
            row("burn test_conv2d_1x1_strided", [1, 2, 4, 4], [2, 2, 1, 1]).stride(2, 2),
            vec![y(0, &[16., 18., 24., 26., 49., 59., 89., 99.])],
        ),
        counted(
            row("burn test_conv2d_simple_implicit", [1, 1, 5, 5], [16, 1, 4, 4]).pad(1, 1),
            vec![
                y(0, &[
                    666., 916., 1030., 774., 1124., 1500., 1620., 1190.,
                    1604., 2100., 2220., 1610., 990., 1264., 1330., 936.,
                ]),
                y(240, &[
                    13641., 19651., 22645., 18069., 25619., 36075., 40035., 31445.,
                    40499., 55875., 59835., 46265., 35565., 48799., 51745., 39831.,
                ]),
            ],
        ),
        counted(
            row("burn test_conv2d_implicit_padded_in_channels", [1, 3, 4, 4], [16, 3, 3, 3]).pad(1, 1),
            vec![y(240, &[
                94446., 145278., 152829., 104280., 156318., 239847., 251133., 170979.,
                186450., 284991., 296277., 201039., 133812., 204228., 211725., 143478.,
            ])],
        ),
        counted(
            row("burn test_conv2d_groups_channels_out", [1, 2, 4, 4], [16, 1, 3, 3]).pad(1, 1),
            vec![
                y(0, &[
                    73., 121., 154., 103., 171., 258., 294., 186.,
                    279., 402., 438., 270., 139., 187., 202., 113.,
                ]),
                y(128, &[
                    5793., 8865., 9330., 6335., 9467., 14450., 15134., 10250.,
                    11303., 17186., 17870., 12062., 7971., 12099., 12546., 8457.,
                ]),
            ],
        ),
        counted(
            row("burn test_conv2d_groups_remainder_padding_regression", [1, 2, 2, 2], [32, 1, 3, 3])
                .pad(1, 1),
            vec![
                y(0, &[43., 37., 25., 19., 98., 92., 80., 74.]),
                y(120, &[6109., 6087., 6043., 6021., 6308., 6286., 6242., 6220.]),
            ],
        ),
        counted(
            row(
                "burn test_conv2d_groups_padding_larger_than_output_width_regression",
                [1, 2, 1, 2],
                [32, 1, 1, 8],
            )
            .pad(0, 4),
            vec![
                y(0, &[5., 4., 3., 14., 13., 12.]),
                y(90, &[1253., 1248., 1243., 1294., 1289., 1284.]),
            ],
        ),
        counted(row("burn test_conv2d_groups", [1, 2, 5, 5], [2, 1, 3, 3]), vec![y(0, &[
            312., 348., 384., 492., 528., 564., 672., 708., 744.,
            3724., 3841., 3958., 4309., 4426., 4543., 4894., 5011., 5128.,
        ])]),
        counted(
            row("burn test_conv2d_groups_multiple_channels", [1, 4, 5, 5], [4, 2, 3, 3]),
            vec![y(0, &[
                4035., 4188., 4341., 4800., 4953., 5106., 5565., 5718., 5871.,
                10030., 10507., 10984., 12415., 12892., 13369., 14800., 15277., 15754.,
                56075., 56876., 57677., 60080., 60881., 61682., 64085., 64886., 65687.,
                78270., 79395., 80520., 83895., 85020., 86145., 89520., 90645., 91770.,
            ])],
        ),
        counted(
            row("burn test_conv2d_complex", [2, 3, 4, 5], [4, 3, 3, 2])
                .pad(1, 2)
                .stride(2, 3)
                .dilation(1, 2),
            vec![y(0, &[
                1845., 3789., 1926., 3210., 6465., 3228., 4276., 9082., 4789., 8071., 16834., 8737.,
                6707., 14375., 7652., 12932., 27203., 14246.,
                9138., 19668., 10515., 17793., 37572., 19755.,
                5445., 10629., 5166., 8070., 15645., 7548.,
                14356., 28882., 14509., 22651., 45454., 22777.,
                23267., 47135., 23852., 37232., 75263., 38006.,
                32178., 65388., 33195., 51813., 105072., 53235.,
            ])],
        ),
        counted(line("burn test_conv1d_simple", [2, 2, 4], [2, 2, 3]).pad(0, 1), vec![y(0, &[
            43., 67., 82., 49., 104., 176., 227., 158., 139., 187., 202., 113., 392., 584., 635., 414.,
        ])]),
        counted(
            line("burn test_conv1d_dilation", [2, 2, 4], [2, 2, 3]).pad(0, 1).dilation(1, 2),
            vec![y(0, &[62., 38., 159., 111., 158., 102., 447., 367.])],
        ),
        counted(line("burn test_conv1d_groups", [2, 2, 4], [2, 1, 3]).pad(0, 1), vec![y(0, &[
            2., 5., 8., 3., 42., 63., 75., 47., 26., 29., 32., 11., 114., 159., 171., 103.,
        ])]),
        counted(
            line("burn test_conv1d_complex", [2, 3, 4], [4, 3, 3]).pad(0, 1).stride(1, 2),
            vec![y(0, &[
                171., 294., 415., 781., 659., 1268., 903., 1755.,
                495., 726., 1387., 2185., 2279., 3644., 3171., 5103.,
            ])],
        ),
    ]
}

#[rustfmt::skip]
fn burn_gradients() -> Vec<Figures> {
    vec![
        gradients(
            row("burn test_conv2d_stride_2", [1, 2, 6, 6], [2, 2, 3, 3]).pad(1, 1).stride(2, 2),
            &[
                26., 52., 26., 52., 26., 28., 52., 104., 52., 104., 52., 56.,
                26., 52., 26., 52., 26., 28., 52., 104., 52., 104., 52., 56.,
                26., 52., 26., 52., 26., 28., 32., 64., 32., 64., 32., 34.,
            ],
            &[
                56., 84., 90., 84., 126., 135., 120., 180., 189.,
                200., 300., 306., 300., 450., 459., 336., 504., 513.,
            ],
        ),
        gradients(
            row("burn test_conv2d_different_dilation", [1, 2, 6, 6], [2, 2, 3, 3])
                .pad(1, 1)
                .dilation(2, 3),
            &[
                18., 0., 20., 20., 0., 22., 42., 0., 46., 46., 0., 50.,
                42., 0., 46., 46., 0., 50., 54., 0., 58., 58., 0., 62.,
                54., 0., 58., 58., 0., 62., 30., 0., 32., 32., 0., 34.,
            ],
            &[
                18., 51., 33., 60., 140., 80., 72., 159., 87.,
                126., 267., 141., 204., 428., 224., 180., 375., 195.,
            ],
        ),
        gradients(
            row("burn test_conv2d_different_padding", [1, 2, 4, 4], [2, 2, 3, 3]).pad(1, 2),
            &[
                138., 138., 138., 138., 234., 234., 234., 234.,
                234., 234., 234., 234., 174., 174., 174., 174.,
            ],
            &[
                66., 66., 66., 120., 120., 120., 114., 114., 114.,
                258., 258., 258., 376., 376., 376., 306., 306., 306.,
            ],
        ),
        gradients(
            row("burn test_conv2d_groups", [1, 2, 5, 5], [2, 1, 3, 3]),
            &[
                0., 1., 3., 3., 2., 3., 8., 15., 12., 7., 9., 21., 36., 27., 15.,
                9., 20., 33., 24., 13., 6., 13., 21., 15., 8.,
                9., 19., 30., 21., 11., 21., 44., 69., 48., 25., 36., 75., 117., 81., 42.,
                27., 56., 87., 60., 31., 15., 31., 48., 33., 17.,
            ],
            &[
                54., 63., 72., 99., 108., 117., 144., 153., 162.,
                279., 288., 297., 324., 333., 342., 369., 378., 387.,
            ],
        ),
        gradients(
            row("burn test_conv2d_groups_stride_2", [1, 4, 4, 4], [4, 1, 3, 3]).pad(1, 1).stride(2, 2),
            &[
                4., 8., 4., 5., 8., 16., 8., 10., 4., 8., 4., 5., 7., 14., 7., 8.,
                13., 26., 13., 14., 26., 52., 26., 28., 13., 26., 13., 14., 16., 32., 16., 17.,
            ],
            &[
                5., 10., 12., 10., 20., 24., 18., 36., 40., 21., 42., 44., 42., 84., 88., 50., 100., 104.,
                37., 74., 76., 74., 148., 152., 82., 164., 168.,
                53., 106., 108., 106., 212., 216., 114., 228., 232.,
            ],
        ),
        gradients(
            row("burn test_conv2d_groups_different_channels", [1, 3, 4, 4], [6, 1, 3, 3]),
            &[
                9., 20., 24., 13., 24., 52., 60., 32., 36., 76., 84., 44., 21., 44., 48., 25.,
                45., 92., 96., 49., 96., 196., 204., 104., 108., 220., 228., 116., 57., 116., 120., 61.,
            ],
            &[
                10., 14., 18., 26., 30., 34., 42., 46., 50., 10., 14., 18., 26., 30., 34., 42., 46., 50.,
                74., 78., 82., 90., 94., 98., 106., 110., 114.,
            ],
        ),
        gradients(
            row("burn test_conv2d_complex", [1, 2, 4, 5], [3, 2, 2, 3])
                .pad(1, 2)
                .stride(1, 2)
                .dilation(2, 3),
            &[
                36., 39., 0., 39., 42., 81., 87., 0., 87., 93.,
                81., 87., 0., 87., 93., 45., 48., 0., 48., 51.,
                54., 57., 0., 57., 60., 117., 123., 0., 123., 129.,
                117., 123., 0., 123., 129., 63., 66., 0., 66., 69.,
            ],
            &[15., 42., 27., 30., 72., 42., 75., 162., 87., 90., 192., 102.],
        ),
        gradients(
            row("burn test_conv2d_groups_stride_2_no_pad", [1, 4, 4, 4], [2, 2, 3, 3]).stride(2, 2),
            &[0., 1., 2., 0., 3., 4., 5., 0., 6., 7., 8., 0., 0., 0., 0., 0.],
            &[
                0., 1., 2., 4., 5., 6., 8., 9., 10., 16., 17., 18., 20., 21., 22., 24., 25., 26.,
                32., 33., 34., 36., 37., 38., 40., 41., 42., 48., 49., 50., 52., 53., 54., 56., 57., 58.,
            ],
        ),
        gradients(
            row("burn test_conv2d_groups_depthwise_batched_multiplier", [2, 2, 4, 4], [4, 1, 3, 3]),
            &[9., 20., 24., 13., 24., 52., 60., 32., 36., 76., 84., 44., 21., 44., 48., 25.],
            &[
                148., 156., 164., 180., 188., 196., 212., 220., 228.,
                148., 156., 164., 180., 188., 196., 212., 220., 228.,
                276., 284., 292., 308., 316., 324., 340., 348., 356.,
            ],
        ),
        gradients(
            row("burn test_conv2d_pointwise", [2, 3, 3, 5], [5, 3, 1, 1]),
            &[30.; 15],
            &[885., 1335., 1785., 885., 1335., 1785.],
        ),
    ]
}

/// Kernels of ones; a transposed layer's output is the gradient of an input.
#[rustfmt::skip]
fn onnx() -> Vec<Figures> {
    let forward = |row: Row, y| Figures { weight: Ones, ..counted(row.no_bias(), vec![("y", 0, y)]) };
    // Both channels are the same.
    let transposed = |row: Row, dx: &'static [f64]| Figures {
        dy: Count,
        weight: Ones,
        ..counted(row.no_bias(), vec![("dx", 0, dx), ("dx", dx.len(), dx)])
    };
    vec![
        forward(row("ONNX test_basic_conv_with_padding", [1, 1, 5, 5], [1, 1, 3, 3]).pad(1, 1), &[
            12., 21., 27., 33., 24., 33., 54., 63., 72., 51., 63., 99., 108., 117., 81.,
            93., 144., 153., 162., 111., 72., 111., 117., 123., 84.,
        ]),
        forward(
            row("ONNX test_basic_conv_without_padding", [1, 1, 5, 5], [1, 1, 3, 3]),
            &[54., 63., 72., 99., 108., 117., 144., 153., 162.],
        ),
        forward(
            row("ONNX test_conv_with_strides_padding", [1, 1, 7, 5], [1, 1, 3, 3])
                .stride(2, 2)
                .pad(1, 1),
            &[12., 27., 24., 63., 108., 81., 123., 198., 141., 112., 177., 124.],
        ),
        forward(
            row("ONNX test_conv_with_strides_no_padding", [1, 1, 7, 5], [1, 1, 3, 3]).stride(2, 2),
            &[54., 72., 144., 162., 234., 252.],
        ),
        forward(
            row("ONNX test_conv_with_strides_and_asymmetric_padding", [1, 1, 7, 5], [1, 1, 3, 3])
                .stride(2, 2)
                .pad(1, 0),
            &[21., 33., 99., 117., 189., 207., 171., 183.],
        ),
        forward(
            row("ONNX test_conv_with_autopad_same", [1, 1, 5, 5], [1, 1, 3, 3]).stride(2, 2).pad(1, 1),
            &[12., 27., 24., 63., 108., 81., 72., 117., 84.],
        ),
        transposed(row("ONNX test_convtranspose", [1, 2, 5, 5], [1, 2, 3, 3]), &[
            0., 1., 3., 3., 2., 3., 8., 15., 12., 7., 9., 21., 36., 27., 15.,
            9., 20., 33., 24., 13., 6., 13., 21., 15., 8.,
        ]),
        transposed(line("ONNX test_convtranspose_1d", [1, 2, 5], [1, 2, 3]), &[0., 1., 3., 3., 2.]),
        transposed(
            row("ONNX test_convtranspose_pad, _output_shape", [1, 2, 10, 8], [1, 2, 3, 3]).stride(3, 2),
            &[
                0., 0., 1., 1., 3., 2., 2., 0., 0., 0., 1., 1., 3., 2., 2., 0.,
                0., 0., 1., 1., 3., 2., 2., 0., 3., 3., 7., 4., 9., 5., 5., 0.,
                3., 3., 7., 4., 9., 5., 5., 0., 3., 3., 7., 4., 9., 5., 5., 0.,
                6., 6., 13., 7., 15., 8., 8., 0., 6., 6., 13., 7., 15., 8., 8., 0.,
                6., 6., 13., 7., 15., 8., 8., 0., 0., 0., 0., 0., 0., 0., 0., 0.,
            ],
        ),
        transposed(
            row("ONNX test_convtranspose_pads", [1, 2, 7, 3], [1, 2, 3, 3]).stride(3, 2).pad(1, 2),
            &[1., 1., 3., 1., 1., 3., 7., 4., 9., 7., 4., 9., 7., 4., 9., 13., 7., 15., 13., 7., 15.],
        ),
        transposed(
            row("ONNX test_convtranspose_autopad_same", [1, 2, 6, 6], [1, 2, 3, 3])
                .stride(2, 2)
                .sides([0, 1], [0, 1]),
            &[
                0., 0., 1., 1., 3., 2., 0., 0., 1., 1., 3., 2., 3., 3., 8., 5., 12., 7.,
                3., 3., 7., 4., 9., 5., 9., 9., 20., 11., 24., 13., 6., 6., 13., 7., 15., 8.,
            ],
        ),
        Figures {
            dy: These(&[3., 8., 1., 9., 5., 7., 3., 2., 6.]),
            weight: These(&[7., 2., 1., 9.]),
            ..counted(
                row("ONNX test_convtranspose_dilations", [1, 1, 5, 5], [1, 1, 2, 2])
                    .dilation(2, 2)
                    .no_bias(),
                vec![("dx", 0, &[
                    21., 56., 13., 16., 2., 63., 35., 67., 10., 14., 24., 22., 76., 76., 21.,
                    9., 5., 88., 45., 63., 3., 2., 33., 18., 54.,
                ])],
            )
        },
    ]
}

/// rten's and candle's numbers, to four digits.
#[rustfmt::skip]
fn real_numbers() -> Vec<Figures> {
    let x: &[f64] = &[0.5946, 0.8249, 0.0448, 0.9552, 0.2041, 0.2501, 0.2693, 0.1007, 0.8862];
    let kernel: &[f64] = &[0.3230, 0.7632, 0.4616, 0.8837, 0.5898, 0.3424, 0.2101, 0.7821, 0.6861];
    let square = |test: &str| row(test, [1, 1, 3, 3], [1, 1, 3, 3]);
    let transposed = |row: Row, dx| Figures {
        x: Ones,
        dy: These(&[1., 2., 3., 4.]),
        stated: vec![("dx", 0, dx)],
        ..rounded(row.no_bias(), &[], &[0.1, 0.2, 0.3, 0.4], &[])
    };
    vec![
        rounded(square("rten test_conv").pad(1, 1).no_bias(), x, kernel, &[
            1.5202, 1.5592, 0.9939, 1.7475, 2.6358, 1.3428, 1.0165, 1.1806, 0.8685,
        ]),
        rounded(square("rten test_conv").no_bias(), x, kernel, &[2.6358]),
        rounded(square("rten test_conv, bias"), x, kernel, &[3.6358]),
        Figures {
            bias: These(&[0.1, 0.2, 0.3]),
            ..rounded(
                row("rten test_conv_depthwise", [1, 3, 2, 2], [3, 1, 2, 2]),
                &[
                    0.5946, 0.8249, 0.0448, 0.9552, 0.2041, 0.2501, 0.2693, 0.1007,
                    1.5202, 1.5592, 0.9939, 1.7475,
                ],
                &[
                    -0.0862, -0.4111, 0.0813, 0.4993, -0.4641, 0.1715, -0.0532, -0.2429,
                    -0.4325, 0.4273, 0.4180, 0.4338,
                ],
                &[0.1902, 0.1094, 1.4823],
            )
        },
        transposed(row("rten test_conv_transpose", [1, 1, 4, 4], [1, 1, 2, 2]).stride(2, 2), &[
            0.1, 0.2, 0.2, 0.4, 0.3, 0.4, 0.6, 0.8, 0.3, 0.6, 0.4, 0.8, 0.9, 1.2, 1.2, 1.6,
        ]),
        transposed(
            row("rten test_conv_transpose_padding", [1, 1, 2, 2], [1, 1, 2, 2]).stride(2, 2).pad(1, 1),
            &[0.4, 0.6, 0.6, 0.4],
        ),
        rounded(
            line("candle conv1d", [1, 4, 5], [2, 4, 3]).pad(0, 1).no_bias(),
            &[
                0.4056, -0.8689, -0.0773, -1.5630, 1.2279, -0.9287, -1.7030, 0.1370, 0.1866, 0.4145,
                1.8025, -0.1536, 2.2013, -0.6836, 0.2477, 1.3127, -0.6957, 0.3278, -1.0124, 0.5599,
            ],
            &[
                -0.8404, -0.3490, 0.0130, 1.3123, 0.1763, -1.9249, 1.4270, 0.9421, 0.8670, -0.7181,
                -1.1111, 0.8869, -1.2429, 1.8357, 1.6052, -1.3844, 0.3951, -1.2036, 0.6686, 1.6261,
                -0.6451, -0.0840, -1.4247, 0.5512,
            ],
            &[
                2.4509, 2.6357, -1.3336, 4.1393, 0.5657, 1.8091, -1.1784, 3.5675, 0.5069, 3.3352,
            ],
        ),
        rounded(
            line("candle conv1d_small", [1, 1, 4], [1, 1, 3]).pad(0, 1).no_bias(),
            &[0.4056, -0.8689, -0.0773, -1.5630],
            &[1., 0., 0.],
            &[0., 0.4056, -0.8689, -0.0773],
        ),
        rounded(
            row("candle conv2d_small", [1, 2, 3, 3], [1, 2, 1, 1]).no_bias(),
            &[
                0.4056, -0.8689, 0.6843, 0.2395, 1.2279, -0.9287, -1.7030, 0.1370, 0.1866, 0.4145,
                -0.6266, 0.3529, 2.2013, -0.6836, 0.2477, 1.3127, -0.6957, 0.3278,
            ],
            &[-0.9259, 1.3017],
            &[0.164, -0.0111, -0.1742, 2.6437, -2.0268, 1.1823, 3.2855, -1.0324, 0.2539],
        ),
        rounded(
            square("candle conv2d_smaller").no_bias(),
            &[0.4056, -0.8689, 0.6843, 0.2395, 1.2279, -0.9287, -1.7030, 0.1370, 0.1866],
            &[1.; 9],
            &[-0.6197],
        ),
        rounded(
            row("candle conv2d_non_square", [1, 2, 4, 2], [1, 2, 1, 1]).no_bias(),
            &[
                0.4056, -0.8689, -0.0773, -1.5630, -2.8012, -1.5059, 0.3972, 1.0852, 0.4997, 3.0616,
                1.6541, 0.0964, -0.8338, -1.6523, -0.8323, -0.1699,
            ],
            &[-1.1351, 1.3841],
            &[0.2312, 5.2238, 2.3772, 1.9076, 2.0256, -0.5776, -1.6028, -1.467],
        ),
    ]
}
