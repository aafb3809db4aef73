//! Attention within windows of patches, where it counts how far two patches stand apart.
//!
//! Every second block moves its windows by half a window. The image is rolled for that, so that the last windows hold patches of opposite
//! borders; these do not look at each other.

use firn_core::spec::SwinVersion;
use tch::{Device, Kind, Tensor};

use super::{DEVIATION, Shape, cosine::Cosines};
use crate::{
    error::ModelError,
    layers::{
        linear::Linear,
        projections::{Names, Projections},
    },
    parameter_builder::{Initial, ParameterBuilder, Role},
    stage::Pass,
};

/// Added to the product of a query with a key that it must not look at, as the authors and torchvision do.
const UNSEEN: f64 = -100.0;

pub(super) struct WindowAttention {
    comparison: Comparison,
    output: Linear,
    /// Which row of the biases a pair of patches has.
    places: Tensor,
    shape: Shape,
}

/// How much a patch looks at another one.
enum Comparison {
    /// By the products of queries and keys.
    Products {
        projections: Projections,
        /// What each head adds to a product, a row for each difference of two places, `((2·window-1)², heads)`.
        table: Tensor,
    },
    /// By their cosines.
    Cosines(Cosines),
}

impl WindowAttention {
    pub(super) fn new(builder: &mut ParameterBuilder<'_>, prefix: &str, shape: Shape) -> Result<Self, ModelError> {
        let width = shape.width;
        let name = |tail: &str| format!("{prefix}.{tail}");
        let comparison = match shape.version {
            SwinVersion::First => Comparison::products(builder, prefix, shape)?,
            SwinVersion::Second => Comparison::Cosines(Cosines::new(builder, prefix, shape)?),
        };
        Ok(Self {
            comparison,
            output: Linear::new(builder, &name("proj"), [width, width], DEVIATION)?,
            places: relative_places(shape.window)?.f_to_device(builder.device())?,
            shape,
        })
    }

    /// `(n, h, w, c)`, of which zeros make a multiple of the window.
    pub(super) fn forward(&self, image: &Tensor, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let (_, rows, columns, _) = image.size4()?;
        let window = self.shape.window;
        let [padded_rows, padded_columns] = [rows, columns].map(|side| (side + window - 1) / window * window);
        let padding = [0, 0, 0, padded_columns - columns, 0, padded_rows - rows];
        let padded = image.f_constant_pad_nd(padding)?;
        let shift = [padded_rows, padded_columns].map(|side| match self.shape.is_shifted && side > window {
            true => window / 2,
            false => 0,
        });
        let moved = padded.f_roll(shift.map(i64::wrapping_neg), [1, 2])?;
        let seen = match shift {
            [0, 0] => None,
            shift => Some(unseen([padded_rows, padded_columns], window, shift, image.device())?),
        };
        let attended = self.attended(&windows(&moved, window)?, seen.as_ref(), pass)?;
        let whole = whole(&attended, [padded_rows, padded_columns], window)?;
        let back = whole.f_roll(shift, [1, 2])?;
        Ok(back.f_narrow(1, 0, rows)?.f_narrow(2, 0, columns)?)
    }

    /// Windows `(n · windows, patches, c)`; `unseen`: what is added for a pair of patches of each window, `(windows, patches, patches)`.
    fn attended(&self, states: &Tensor, unseen: Option<&Tensor>, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let (windows, patches, width) = states.size3()?;
        let heads = self.shape.heads;
        let split = |part: &Tensor| part.f_view([windows, patches, heads, width / heads])?.f_transpose(1, 2);
        let [query, key, value] = self.comparison.projected(states, pass)?;
        let compared = self.comparison.compared(&split(&query)?, &split(&key)?)?;
        let mut compared = compared.f_add(&self.bias(pass)?)?;
        if let Some(unseen) = unseen {
            let count = unseen.size()[0];
            let of_windows = compared.f_view([windows / count, count, heads, patches, patches])?;
            let shape = [windows, heads, patches, patches];
            compared = of_windows.f_add(&unseen.f_unsqueeze(1)?)?.f_view(shape)?;
        }
        let context = compared.f_softmax(-1, Kind::Float)?.f_matmul(&split(&value)?)?;
        let context = context.f_transpose(1, 2)?.f_reshape([windows, patches, width])?;
        self.output.forward(&context, pass)
    }

    /// What each head adds for each pair of patches, `(heads, patches, patches)`.
    fn bias(&self, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        let patches = self.shape.window.pow(2);
        let rows = self.comparison.table(pass)?.f_index_select(0, &self.places)?;
        Ok(rows.f_view([patches, patches, -1])?.f_permute([2, 0, 1])?)
    }
}

impl Comparison {
    fn products(builder: &mut ParameterBuilder<'_>, prefix: &str, shape: Shape) -> Result<Self, ModelError> {
        let name = |tail: &str| format!("{prefix}.{tail}");
        let rows = (2 * shape.window - 1).pow(2);
        let names = Names {
            joint: [name("qkv.weight"), name("qkv.bias")],
            separate: prefix.to_owned(),
        };
        let table = name("relative_position_bias_table");
        let initial = Initial::Normal(DEVIATION);
        Ok(Self::Products {
            table: builder.tensor(&table, &[rows, shape.heads], Role::Parameter, initial)?,
            projections: Projections::new(builder, &names, shape.width, DEVIATION)?,
        })
    }

    /// Query, key and value, each of the shape of `states`.
    fn projected(&self, states: &Tensor, pass: &Pass<'_>) -> Result<[Tensor; 3], ModelError> {
        match self {
            Self::Products { projections, .. } => projections.forward(states, pass),
            Self::Cosines(cosines) => cosines.projected(states, pass),
        }
    }

    /// Queries and keys `(windows, heads, patches, width of a head)` to a number for each pair of patches, `(windows, heads, patches, patches)`.
    fn compared(&self, query: &Tensor, key: &Tensor) -> Result<Tensor, ModelError> {
        match self {
            Self::Products { .. } => {
                let width = query.size4()?.3;
                let query = query.f_mul_scalar((width as f64).powf(-0.5))?;
                Ok(query.f_matmul(&key.f_transpose(-2, -1)?)?)
            }
            Self::Cosines(cosines) => cosines.compared(query, key),
        }
    }

    /// What each head adds, a row for each difference of two places, `((2·window-1)², heads)`.
    fn table(&self, pass: &Pass<'_>) -> Result<Tensor, ModelError> {
        match self {
            Self::Products { table, .. } => Ok(table.shallow_clone()),
            Self::Cosines(cosines) => cosines.table(pass),
        }
    }
}

/// The row of the table that each pair of patches of a window has, int64 `(patches²)`, as torchvision keeps it.
pub(super) fn relative_places(window: i64) -> Result<Tensor, ModelError> {
    let patches = || (0..window).flat_map(move |row| (0..window).map(move |column| (row, column)));
    let span = 2 * window - 1;
    let place = |(row, column): (i64, i64), (other_row, other_column): (i64, i64)| {
        (row - other_row + window - 1) * span + column - other_column + window - 1
    };
    let pairs = patches().flat_map(|query| patches().map(move |key| place(query, key)));
    Ok(Tensor::f_from_slice(&pairs.collect::<Vec<i64>>())?)
}

/// `(n, h, w, c)` to `(n · windows, patches, c)`, the windows row by row.
fn windows(image: &Tensor, window: i64) -> Result<Tensor, ModelError> {
    let (batch, rows, columns, channels) = image.size4()?;
    let parts = image.f_view([batch, rows / window, window, columns / window, window, channels])?;
    Ok(parts
        .f_permute([0, 1, 3, 2, 4, 5])?
        .f_reshape([-1, window * window, channels])?)
}

/// The way back.
fn whole(states: &Tensor, [rows, columns]: [i64; 2], window: i64) -> Result<Tensor, ModelError> {
    let (_, _, channels) = states.size3()?;
    let parts = states.f_view([-1, rows / window, columns / window, window, window, channels])?;
    Ok(parts
        .f_permute([0, 1, 3, 2, 4, 5])?
        .f_reshape([-1, rows, columns, channels])?)
}

/// What is added to the product of each pair of patches of each window, `(windows, patches, patches)`: [`UNSEEN`] where rolling brought them
/// together from opposite borders.
fn unseen(sides: [i64; 2], window: i64, shift: [i64; 2], device: Device) -> Result<Tensor, ModelError> {
    let [rows, columns] = [0, 1].map(|axis| -> Vec<f32> {
        let (side, shift) = (sides[axis], shift[axis]);
        let region = |place| match () {
            () if shift == 0 || place < side - window => 0.0,
            () if place < side - shift => 1.0,
            () => 2.0,
        };
        (0..side).map(region).collect()
    });
    let rows = Tensor::f_from_slice(&rows)?.f_mul_scalar(3.0)?;
    let regions = rows.f_unsqueeze(1)?.f_add(&Tensor::f_from_slice(&columns)?)?;
    let regions = windows(&regions.f_view([1, sides[0], sides[1], 1])?, window)?.f_squeeze_dim(-1)?;
    let differ = regions.f_unsqueeze(1)?.f_ne_tensor(&regions.f_unsqueeze(2)?)?;
    Ok(differ
        .f_to_kind(Kind::Float)?
        .f_mul_scalar(UNSEEN)?
        .f_to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_become_the_whole_image_again() {
        let image = Tensor::arange(2 * 4 * 6 * 3, (Kind::Float, Device::Cpu)).view([2, 4, 6, 3]);
        let parts = windows(&image, 2).unwrap();
        assert_eq!(parts.size(), [12, 4, 3]);
        assert!(whole(&parts, [4, 6], 2).unwrap().equal(&image));
    }

    #[test]
    fn a_pair_of_patches_has_the_row_of_its_difference() {
        let places: Vec<i64> = Vec::try_from(relative_places(2).unwrap()).unwrap();
        assert_eq!(places, [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4]);
    }

    #[test]
    fn only_rolled_borders_are_not_looked_at() {
        let unseen = unseen([4, 2], 2, [1, 0], Device::Cpu).unwrap();
        assert_eq!(unseen.size(), [2, 4, 4]);
        assert_eq!(unseen.get(0).abs().max().double_value(&[]), 0.0);
        let row: Vec<f32> = Vec::try_from(unseen.get(1).get(0)).unwrap();
        assert_eq!(row, [0.0, 0.0, -100.0, -100.0]);
    }
}
