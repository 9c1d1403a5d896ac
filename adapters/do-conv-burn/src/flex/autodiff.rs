//! The gradients of the operations, in burn's autodiff.

use std::sync::Arc;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::DType;

use super::gradients::{Parts, Pass, compose_gradients, convolve_gradients};
use super::{BiasOf, Convolutions, KernelOf, done};
use crate::engine::Operators;

impl<C: CheckpointStrategy> Convolutions for Autodiff<Flex, C> {
    fn convolve(
        x: FloatTensor<Self>,
        kernel: KernelOf<Self>,
        bias: BiasOf<Self>,
        operators: Arc<Operators>,
        keeps: bool,
    ) -> FloatTensor<Self> {
        let kinds = Kinds {
            composed: matches!(kernel, KernelOf::Composed { .. }),
            bias: matches!(bias, BiasOf::Given(_)),
            keeps,
        };
        let run = Run { kinds, operators };
        match (kernel, bias) {
            (KernelOf::Plain(weight), BiasOf::None) => track::<Convolution, C, 2>([x, weight], run),
            (KernelOf::Plain(weight), BiasOf::Given(bias)) => {
                track::<Convolution, C, 3>([x, weight, bias], run)
            }
            (KernelOf::Composed { w, d_offset }, BiasOf::None) => {
                track::<Convolution, C, 3>([x, w, d_offset], run)
            }
            (KernelOf::Composed { w, d_offset }, BiasOf::Given(bias)) => {
                track::<Convolution, C, 4>([x, w, d_offset, bias], run)
            }
        }
    }

    fn compose(
        w: FloatTensor<Self>,
        d_offset: FloatTensor<Self>,
        operators: Arc<Operators>,
    ) -> FloatTensor<Self> {
        track::<Composition, C, 2>([w, d_offset], Run { kinds: Kinds::default(), operators })
    }
}

/// What an operation is run by, forward and backward.
#[derive(Debug, Clone)]
struct Run {
    kinds: Kinds,
    operators: Arc<Operators>,
}

/// Which inputs a convolution has after `x` and the kernel, or `W`, and whether the kernel may be kept.
#[derive(Debug, Clone, Copy, Default)]
struct Kinds {
    composed: bool,
    bias: bool,
    keeps: bool,
}

/// Where the inputs are from, and what ran.
#[derive(Debug, Clone)]
struct State<const N: usize> {
    inputs: [NodeId; N],
    run: Run,
}

/// An operation of `N` inputs and its gradients.
trait Differentiable<const N: usize>: Backward<Flex, N, State = State<N>> + Default {
    fn forward(inputs: [FloatTensor<Flex>; N], run: Run) -> FloatTensor<Flex>;

    /// The gradients of those inputs that are wanted; the rest don't matter.
    fn gradients(
        inputs: [FloatTensor<Flex>; N],
        dy: FloatTensor<Flex>,
        wanted: [bool; N],
        run: Run,
    ) -> [Option<FloatTensor<Flex>>; N];

    /// A backward pass: fetches the inputs, and registers what is wanted.
    fn pass(ops: Ops<State<N>, N>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node);
        let State { inputs, run } = ops.state;
        let inputs = inputs.map(|input| checkpointer.retrieve_node_output(input));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let of_inputs = Self::gradients(inputs, dy, wanted, run);
        for (parent, gradient) in ops.parents.into_iter().zip(of_inputs) {
            if let Some((parent, gradient)) = parent.zip(gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// Runs an operation, and remembers it if a gradient of an input may be asked for. It is worth keeping its
/// output where the graph is checkpointed.
fn track<O: Differentiable<N>, C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
    run: Run,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    match O::default().prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let state = State {
                inputs: inputs.each_ref().map(|input| prepared.checkpoint(input)),
                run: run.clone(),
            };
            prepared.finish(state, O::forward(inputs.map(|input| input.into_primitive()), run))
        }
        OpsKind::UnTracked(prepared) => {
            prepared.finish(O::forward(inputs.map(|input| input.into_primitive()), run))
        }
    }
}

/// `kernel * x + bias`, of the inputs `x`, the kernel or `W`, the offset of `D` if there is one, and the bias if
/// there is one.
#[derive(Debug, Default)]
struct Convolution;

impl<const N: usize> Backward<Flex, N> for Convolution {
    type State = State<N>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        Self::pass(ops, gradients, checkpointer);
    }
}

impl<const N: usize> Differentiable<N> for Convolution {
    fn forward(inputs: [FloatTensor<Flex>; N], run: Run) -> FloatTensor<Flex> {
        let Parts { x, kernel, d_offset, bias } = Parts::new(inputs, run.kinds);
        let kernel = KernelOf::new(kernel, d_offset);
        let bias = bias.map_or(BiasOf::None, BiasOf::Given);
        Flex::convolve(x, kernel, bias, run.operators, run.kinds.keeps)
    }

    fn gradients(
        inputs: [FloatTensor<Flex>; N],
        dy: FloatTensor<Flex>,
        wanted: [bool; N],
        Run { kinds, operators }: Run,
    ) -> [Option<FloatTensor<Flex>>; N] {
        let Parts { x, kernel, d_offset, .. } = Parts::new(inputs, kinds);
        let pass = Pass { x, kernel: KernelOf::new(kernel, d_offset), dy };
        let wanted = Parts::new(wanted, kinds);
        let gradients = match pass.dy.dtype() {
            DType::F64 => convolve_gradients(&operators.double, pass, wanted),
            _ => convolve_gradients(&operators.single, pass, wanted),
        };
        done(gradients).into_array()
    }
}

impl<P> Parts<P> {
    fn new<const N: usize>(parts: [P; N], kinds: Kinds) -> Self {
        let mut parts = parts.into_iter();
        let mut next = || parts.next().expect("as many as the operation has inputs");
        let (x, kernel) = (next(), next());
        let d_offset = kinds.composed.then(&mut next);
        Self { x, kernel, d_offset, bias: kinds.bias.then(next) }
    }

    fn into_array<const N: usize>(self) -> [P; N] {
        let Self { x, kernel, d_offset, bias } = self;
        let mut parts = [Some(x), Some(kernel), d_offset, bias].into_iter().flatten();
        std::array::from_fn(|_| parts.next().expect("as many as the operation has inputs"))
    }
}

impl KernelOf<Flex> {
    /// A plain kernel, or `W` with an offset of `D`.
    fn new(kernel: FloatTensor<Flex>, d_offset: Option<FloatTensor<Flex>>) -> Self {
        match d_offset {
            Some(d_offset) => Self::Composed { w: kernel, d_offset },
            None => Self::Plain(kernel),
        }
    }
}

/// `(d_offset + E)ᵀ∘w`, of the inputs `W` and the offset of `D`.
#[derive(Debug, Default)]
struct Composition;

impl Backward<Flex, 2> for Composition {
    type State = State<2>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        gradients: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        Self::pass(ops, gradients, checkpointer);
    }
}

impl Differentiable<2> for Composition {
    fn forward([w, d_offset]: [FloatTensor<Flex>; 2], run: Run) -> FloatTensor<Flex> {
        Flex::compose(w, d_offset, run.operators)
    }

    fn gradients(
        [w, d_offset]: [FloatTensor<Flex>; 2],
        dweight: FloatTensor<Flex>,
        _: [bool; 2],
        Run { operators, .. }: Run,
    ) -> [Option<FloatTensor<Flex>>; 2] {
        let gradients = match dweight.dtype() {
            DType::F64 => compose_gradients(&operators.double, w, d_offset, dweight),
            _ => compose_gradients(&operators.single, w, d_offset, dweight),
        };
        done(gradients).map(Some)
    }
}
