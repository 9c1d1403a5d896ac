//! What steps and sums take, and what they would take on more machines.

use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

use clap::Args;

use crate::agreement::agree;
use crate::data::load;
use crate::error::Result;
use crate::link::Link;
use crate::options::Options;
use crate::sums::{Bucket, Spent};
use crate::train::Trainer;

/// Steps before those that are measured.
const WARM_UP: usize = 20;
/// Values of the sums that are measured: 4 bytes to 16 MiB.
const LENGTHS: [usize; 6] = [1, 1 << 10, 1 << 14, 1 << 18, 1 << 20, 1 << 22];
/// Sums in a row that are timed together.
const SUMS: u32 = 8;
const MACHINES: [usize; 3] = [8, 64, 512];

/// What is measured.
#[derive(Args, Clone, Debug)]
pub struct Scale {
    #[command(flatten)]
    training: Options,

    /// Steps that are measured, and sums of each size
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What connects machines, each of which sends and receives at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Seconds from the start of a message to its first byte at the other end.
    pub latency: f64,
    /// Both ways at once.
    pub bytes_per_second: f64,
}

/// Cables as there are in a data centre. Latencies are guesses of what MPI has over TCP, and by remote memory access.
const NETWORKS: [(&str, Network); 2] = [
    ("10 Gbit/s, 30 µs", Network { latency: 30e-6, bytes_per_second: 1.25e9 }),
    ("100 Gbit/s, 5 µs", Network { latency: 5e-6, bytes_per_second: 12.5e9 }),
];

impl Network {
    /// Seconds of [`all_reduce`](crate::exchange::all_reduce) of that many bytes over `machines`.
    pub fn sum(self, machines: usize, bytes: usize) -> f64 {
        let (n, messages) = (machines as f64, 2.0 * f64::from(machines.ilog2()));
        messages * self.latency + 2.0 * (n - 1.0) / n * bytes as f64 / self.bytes_per_second
    }

    /// Seconds that a rank waits after its last leaf: buckets go one after the other, none before it is ready.
    pub fn waiting(self, machines: usize, buckets: &[Bucket]) -> f64 {
        // Time 0 is the end of the last leaf.
        let mut end = f64::NEG_INFINITY;
        for bucket in buckets {
            end = end.max(-bucket.before_end.as_secs_f64()) + self.sum(machines, bucket.bytes);
        }
        end.max(0.0)
    }

    /// The network between these ranks that explains the measured seconds of sums of few bytes and of many.
    fn of(machines: usize, few: f64, many: (usize, f64)) -> Self {
        let (n, messages) = (machines as f64, 2.0 * f64::from(machines.ilog2()));
        let (bytes, seconds) = many;
        let bytes_per_second =
            2.0 * (n - 1.0) / n * bytes as f64 / (seconds - few).max(f64::EPSILON);
        Self { latency: few / messages, bytes_per_second }
    }
}

impl Scale {
    /// Measures, and tells `say` on rank 0.
    ///
    /// # Errors
    /// As [`Session::run`](crate::session::Session::run).
    pub fn run(&self, link: &Link, say: impl FnMut(&dyn Display) -> io::Result<()>) -> Result<()> {
        let mut say = link.on_rank_0(say);
        let Self { training, rounds } = self;
        agree(link, &vec![("command", format!("scale --rounds {rounds}"))])?;
        let data = load(&training.data)?;
        let mut trainer = Trainer::new(link, training, &data)?;
        let step = Step::measure(&mut trainer, *rounds)?;
        let n = link.size();
        let (kernels, parameters) = trainer.bytes();
        let leaves = training.batch / training.leaf;
        let own = step.computing + step.descent;

        say(&format_args!(
            "{:?} net, {n} processes, {} threads each, {}\n\
         gradients: {kernels} bytes of composed kernels and biases, {parameters} of D, W and biases\n\
         step, ms: {:.3} = {:.3} for {} of {leaves} leaves of {} images + {:.3} waiting for sums + {:.3} descent\n\n\
         | bucket, bytes | ready before the last leaf's end, ms | sum, ms |\n| ---: | ---: | ---: |",
            training.net,
            rayon::current_num_threads(),
            do_conv::instruction_set(),
            1e3 * step.whole,
            1e3 * step.computing,
            leaves / n,
            training.leaf,
            1e3 * step.waiting,
            1e3 * step.descent,
        ))?;
        for Bucket { bytes, before_end, time } in &step.buckets {
            let [before_end, time] = [before_end, time].map(|time| 1e3 * time.as_secs_f64());
            say(&format_args!("| {bytes} | {before_end:.3} | {time:.3} |"))?;
        }
        if n > 1 {
            let sums = sums(link, *rounds);
            let network = Network::of(n, sums[0].1, sums[LENGTHS.len() - 1]);
            say(&format_args!(
                "\nbetween these processes: {:.1} µs, {:.2} GB/s\n\n| bytes | sum, ms | model |\n| ---: | ---: | ---: |",
                1e6 * network.latency,
                network.bytes_per_second / 1e9
            ))?;
            for (bytes, seconds) in sums {
                let model = network.sum(n, bytes);
                say(&format_args!("| {bytes} | {:.3} | {:.3} |", 1e3 * seconds, 1e3 * model))?;
            }
            let waiting = network.waiting(n, &step.buckets);
            say(&format_args!(
                "\nwaiting for sums by the model: {:.3} ms, measured {:.3}; step: {:.3}, measured {:.3}",
                1e3 * waiting,
                1e3 * step.waiting,
                1e3 * (own + waiting),
                1e3 * step.whole
            ))?;
        }

        let whole = [Bucket { bytes: kernels, before_end: Duration::ZERO, time: Duration::ZERO }];
        let of_parameters = step.buckets.iter().map(|bucket| {
            let bytes = (bucket.bytes as u64 * parameters as u64 / kernels as u64) as usize;
            Bucket { bytes, ..*bucket }
        });
        let of_parameters: Vec<_> = of_parameters.collect();
        say(&format_args!(
            "\nEach machine with {} images a step, as here:\n\n\
         | network | machines | waiting, ms | efficiency | with gradients of D and W | in one sum after the last leaf |\n\
         | :--- | ---: | ---: | ---: | ---: | ---: |",
            training.batch / n,
        ))?;
        for (name, network) in NETWORKS {
            for machines in MACHINES {
                let [waiting, of_parameters, whole] = [&step.buckets[..], &of_parameters, &whole]
                    .map(|buckets| network.waiting(machines, buckets));
                let efficiency = |waiting: f64| 100.0 * own / (own + waiting);
                say(&format_args!(
                    "| {name} | {machines} | {:.3} | {:.1} % | {:.1} % | {:.1} % |",
                    1e3 * waiting,
                    efficiency(waiting),
                    efficiency(of_parameters),
                    efficiency(whole),
                ))?;
            }
        }
        Ok(())
    }
}

/// Seconds of a step of this rank, medians.
struct Step {
    whole: f64,
    computing: f64,
    waiting: f64,
    descent: f64,
    buckets: Vec<Bucket>,
}

impl Step {
    fn measure(trainer: &mut Trainer<'_>, rounds: u32) -> Result<Self> {
        for _ in 0..WARM_UP {
            trainer.step()?;
        }
        let mut steps = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            let spent = trainer.step()?.spent;
            steps.push((start.elapsed(), spent));
        }
        let of = |time: &dyn Fn(&(Duration, Spent)) -> Duration| {
            median(steps.iter().map(time).collect())
        };
        let (whole, computing) = (of(&|step| step.0), of(&|step| step.1.computing));
        let waiting = of(&|step| step.1.waiting);
        let descent = of(&|(whole, spent)| *whole - spent.computing - spent.waiting);
        let buckets = steps.first().map_or(&[][..], |step| &step.1.buckets);
        let buckets = (0..buckets.len()).map(|index| {
            let before_end = of(&|step| step.1.buckets[index].before_end);
            let time = of(&|step| step.1.buckets[index].time);
            let [before_end, time] = [before_end, time].map(Duration::from_secs_f64);
            Bucket { bytes: buckets[index].bytes, before_end, time }
        });
        Ok(Self { whole, computing, waiting, descent, buckets: buckets.collect() })
    }
}

/// Bytes of sums, and the median of their seconds.
fn sums(link: &Link, rounds: u32) -> Vec<(usize, f64)> {
    let measure = |length: usize| {
        let times = (0..rounds).map(|_| {
            // One after the other, so that each begins on all ranks at nearly the same time.
            link.gather(Vec::new());
            let start = Instant::now();
            (0..SUMS).for_each(|_| drop(link.reduce(vec![1.0; length]).wait()));
            start.elapsed() / SUMS
        });
        (size_of::<f32>() * length, median(times.collect()))
    };
    LENGTHS.map(measure).to_vec()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Network = Network { latency: 1e-3, bytes_per_second: 1e6 };

    fn bucket(bytes: usize, before_end: f64) -> Bucket {
        Bucket { bytes, before_end: Duration::from_secs_f64(before_end), time: Duration::ZERO }
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9 * a.abs().max(b.abs())
    }

    #[test]
    fn a_sum_sends_all_but_one_machines_part_twice() {
        // Two of four messages' latencies each way, and 2·3/4 of a megabyte.
        assert!(close(NETWORK.sum(4, 1_000_000), 4e-3 + 1.5));
        assert!(close(NETWORK.sum(2, 0), 2e-3));
    }

    #[test]
    fn only_what_outlasts_the_leaves_is_waited_for() {
        // Of two machines 0.102 s and 0.012 s.
        let buckets = [bucket(100_000, 0.2), bucket(10_000, 0.0)];
        assert!(close(NETWORK.waiting(2, &buckets), 0.012));
        let buckets = [bucket(100_000, 0.05), bucket(10_000, 0.0)];
        assert!(close(NETWORK.waiting(2, &buckets), 0.102 - 0.05 + 0.012));
        assert_eq!(NETWORK.waiting(2, &[bucket(100_000, 0.2)]), 0.0);
    }

    #[test]
    fn a_network_is_found_from_its_sums() {
        let bytes = 1 << 24;
        let found = Network::of(8, NETWORK.sum(8, 0), (bytes, NETWORK.sum(8, bytes)));
        assert!(close(found.latency, NETWORK.latency));
        assert!(close(found.bytes_per_second, NETWORK.bytes_per_second));
    }
}
