//! What can only be read from what a model prints: burn 0.22 has no other way to a layer's number of groups.
//! Visitors and mappers see parameters, records hold tensors, and a module's other fields have no trait. Text that
//! isn't exactly what burn prints for a `Conv2d` with that kernel is no answer.

use burn::module::{DisplaySettings, ModuleDisplay, ParamId};

/// The model's text with every field of every layer and the ids of its parameters.
pub fn displayed(model: &impl ModuleDisplay) -> String {
    model.format(DisplaySettings::new().with_show_all_attributes(true).with_show_param_id(true))
}

/// The number of groups of the `Conv2d` with that kernel, as its module displays it, wherever it does.
pub fn displayed_groups(displayed: &str, id: ParamId, shape: [usize; 4]) -> Option<usize> {
    let end_of_weight = format!("id: {id}}}");
    let mut groups = displayed
        .split(&end_of_weight)
        .skip(1)
        .filter_map(|after| groups_after_weight(after, shape));
    let first = groups.next()?;
    groups.all(|other| other == first).then_some(first)
}

/// Reads what follows the weight of a `Conv2d` that is displayed with all attributes: its bias, stride,
/// kernel size, dilation, groups and padding.
fn groups_after_weight(after: &str, [outputs, _, rows, columns]: [usize; 4]) -> Option<usize> {
    let (bias, after) = after.split_once(", stride: [")?;
    if bias != ", bias: None" && !(bias.starts_with(", bias: ParamTensor {") && bias.ends_with('}'))
    {
        return None;
    }
    let (geometry, after) = after.split_once(", groups: ")?;
    let (_, dilation) = geometry.split_once(&format!("], kernel_size: [{rows}, {columns}]"))?;
    let (groups, _) = after.split_once(", padding: ")?;
    let braces = [bias.matches('{').count(), geometry.matches('{').count()];
    let groups = groups.parse().ok().filter(|&groups| groups > 0 && outputs % groups == 0);
    groups.filter(|_| dilation.starts_with(", dilation: [") && braces[0] <= 1 && braces[1] == 0)
}
