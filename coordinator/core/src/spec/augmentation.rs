//! Random changes of training images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Random changes of training images, as the transforms of torchvision that have these names make them of PIL images, in the order of these fields. They
/// differ from epoch to epoch, and depend on the seed, the epoch and the sample only. Validation and test are never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AugmentationSpec {
    /// A part of the image, brought to the size of `preprocessing.crop`, in place of the resize and the centre crop: `RandomResizedCrop`.
    #[schemars(extend("x-firn-default" = "none: resize and centre crop"))]
    pub random_resized_crop: Option<RandomResizedCropSpec>,
    /// A part of the resized image, of the size of `preprocessing.crop`, in place of the centre crop: `RandomCrop`. Not together with `randomResizedCrop`.
    #[schemars(extend("x-firn-default" = "none: centre crop"))]
    pub random_crop: Option<RandomCropSpec>,
    /// Probability that left and right are exchanged.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.0))]
    pub horizontal_flip: f64,
    /// Probability that top and bottom are exchanged.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.0))]
    pub vertical_flip: f64,
    /// Largest angle of a rotation about the centre, in degrees, to either side. What comes in from outside is black: `RandomRotation`.
    #[schemars(range(min = 0.0, max = 180.0), extend("default" = 0.0))]
    pub rotation: f64,
    /// Some operations of one strength: `RandAugment` (Cubuk et al. 2020).
    #[schemars(extend("x-firn-default" = "none"))]
    pub rand_augment: Option<RandAugmentSpec>,
    /// One operation of any strength: `TrivialAugmentWide` (Müller & Hutter 2021). Not together with `randAugment`.
    #[schemars(extend("x-firn-default" = "none"))]
    pub trivial_augment_wide: Option<TrivialAugmentWideSpec>,
    /// Changes of colour, in random order: `ColorJitter`.
    #[schemars(extend("x-firn-default" = "none"))]
    pub color_jitter: Option<ColorJitterSpec>,
    /// Probability that an image loses its colours.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.0))]
    pub grayscale: f64,
    /// A rectangle is replaced, after the normalisation: `RandomErasing`.
    #[schemars(extend("x-firn-default" = "none"))]
    pub random_erasing: Option<RandomErasingSpec>,
    /// How pixels between those of the image are made where it is rotated, sheared or moved.
    #[schemars(extend("default" = "nearest"))]
    pub interpolation: WarpInterpolation,
}

/// A part of the image, brought to the size of the crop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RandomResizedCropSpec {
    /// Least and most of the image's area.
    #[schemars(inner(range(min = 0.0, max = 1.0)), extend("x-firn-items" = "two numbers, the least and the most", "default" = [0.08, 1.0]))]
    pub scale: [f64; 2],
    /// Least and most width of the part for each unit of its height.
    #[schemars(extend("items" = {"type": "number", "exclusiveMinimum": 0.0}, "x-firn-items" = "two numbers, the least and the most", "default" = RATIO))]
    pub ratio: [f64; 2],
}

/// That of torchvision's `RandomResizedCrop`.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// A part of the resized image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RandomCropSpec {
    /// Pixels that are put around the resized image first, on each side; less than `preprocessing.crop`. Networks for CIFAR are trained with 4.
    #[schemars(range(max = 8191), extend("default" = 0))]
    pub padding: u32,
    /// What these pixels are.
    #[schemars(extend("default" = "constant"))]
    pub padding_mode: PaddingMode,
}

/// What is put around an image, in torchvision's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PaddingMode {
    /// Black.
    Constant,
    /// The pixel of the border.
    Edge,
    /// The image mirrored at the pixels of its border, which are not repeated.
    Reflect,
    /// The image mirrored at its border.
    Symmetric,
}

/// Some operations of one strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RandAugmentSpec {
    /// Operations, one after the other.
    #[schemars(range(min = 1, max = 14), extend("default" = 2))]
    pub num_ops: u32,
    /// Their strength: a place among `numMagnitudeBins`, from 0.
    #[schemars(range(max = 999), extend("default" = 9))]
    pub magnitude: u32,
    /// Steps from no change to the strongest.
    #[schemars(range(min = 2, max = 1000), extend("default" = 31))]
    pub num_magnitude_bins: u32,
}

/// One operation of any strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrivialAugmentWideSpec {
    /// Steps from no change to the strongest.
    #[schemars(range(min = 2, max = 1000), extend("default" = 31))]
    pub num_magnitude_bins: u32,
}

/// Changes of colour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColorJitterSpec {
    /// The brightness is multiplied with a number from max(0, 1 - brightness) to 1 + brightness.
    #[schemars(range(min = 0.0), extend("default" = 0.0))]
    pub brightness: f64,
    /// The same for contrast.
    #[schemars(range(min = 0.0), extend("default" = 0.0))]
    pub contrast: f64,
    /// The same for saturation.
    #[schemars(range(min = 0.0), extend("default" = 0.0))]
    pub saturation: f64,
    /// The hue is turned by at most this part of the circle, to either side.
    #[schemars(range(min = 0.0, max = 0.5), extend("default" = 0.0))]
    pub hue: f64,
}

/// A rectangle is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RandomErasingSpec {
    /// How often.
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = 0.5))]
    pub probability: f64,
    /// Least and most of the image's area.
    #[schemars(inner(range(min = 0.0, max = 1.0)), extend("x-firn-items" = "two numbers, the least and the most", "default" = [0.02, 0.33]))]
    pub scale: [f64; 2],
    /// Least and most height of the rectangle for each unit of its width.
    #[schemars(extend("items" = {"type": "number", "exclusiveMinimum": 0.0}, "x-firn-items" = "two numbers, the least and the most", "default" = [0.3, 3.3]))]
    pub ratio: [f64; 2],
    /// What stands there then.
    #[schemars(extend("default" = "zero"))]
    pub value: ErasedValue,
}

/// What stands in an erased rectangle, in normalised numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErasedValue {
    /// 0, the mean of each channel.
    Zero,
    /// A standard normal number for each pixel and channel.
    Random,
}

/// How pixels between those of an image are made when it is warped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WarpInterpolation {
    /// That of the pixel in which the place lies.
    #[default]
    Nearest,
    /// A mean of the four around it.
    Bilinear,
}
