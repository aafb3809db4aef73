//! The size of an image and of its components, in pixels, samples and blocks.

#[derive(Clone, Default)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    pub(super) across_max: usize,
    pub(super) down_max: usize,
}

#[derive(Clone)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) quantization: usize,
    /// In samples, without padding.
    pub(super) width: usize,
    pub(super) height: usize,
    /// In whole MCUs.
    pub(super) blocks_across: usize,
    pub(super) blocks_down: usize,
}

impl Frame {
    /// From the size and the sampling factors, all else.
    pub(super) fn measure(&mut self) {
        self.across_max = self
            .components
            .iter()
            .map(|component| component.across)
            .max()
            .unwrap_or(1);
        self.down_max = self
            .components
            .iter()
            .map(|component| component.down)
            .max()
            .unwrap_or(1);
        let (mcus_across, mcus_down) = (self.mcus_across(), self.mcus_down());
        for component in &mut self.components {
            component.width = (self.width * component.across).div_ceil(self.across_max);
            component.height = (self.height * component.down).div_ceil(self.down_max);
            component.blocks_across = mcus_across * component.across;
            component.blocks_down = mcus_down * component.down;
        }
    }

    pub(super) fn mcus_across(&self) -> usize {
        self.width.div_ceil(8 * self.across_max)
    }

    pub(super) fn mcus_down(&self) -> usize {
        self.height.div_ceil(8 * self.down_max)
    }
}
