//! DO-Conv, DO-GConv and DO-DConv are one layer: `groups` tells them apart.

use do_conv::{DoConv2d, DoConv2dConfig, Error};

fn main() -> Result<(), Error> {
    let (batch, channels, side) = (8, 64, 28);
    for (name, groups) in [("DO-Conv", 1), ("DO-GConv", 8), ("DO-DConv", channels)] {
        let layer: DoConv2d<f32> =
            DoConv2dConfig::new(channels, channels, [3, 3]).padding(1).groups(groups).init(0)?;
        println!("{name}: {layer}\n{}\n", layer.cost([batch, channels, side, side])?);
    }
    Ok(())
}
