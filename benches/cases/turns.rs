//! Turns and medians: machines are noisy, and a contender that runs alone meets other noise.

/// The median over rounds of what each contender's turns give; in a round, each has one turn.
pub fn in_turn<C, E>(
    rounds: usize,
    contenders: &mut [C],
    mut turn: impl FnMut(&mut C) -> Result<f64, E>,
) -> Result<Vec<f64>, E> {
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            times.push(turn(contender)?);
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// The median of at least one number.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
