//! Under which names a file keeps the tensors of a network.
//!
//! Inside Firn every tensor has one name: torchvision's for image models, Hugging Face's without prefix for text models. A file may use
//! others; which ones is decided once, from the keys that it has. Each family lists the dialects it knows.

use crate::architecture::Opened;

/// A library whose names weights have. Some libraries build a network a little otherwise, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// torchvision.
    Torchvision,
    /// timm.
    Timm,
    /// transformers.
    HuggingFace,
    /// The authors of DINOv2, where no library has their names.
    Dinov2,
    /// pytorch_resnet_cifar10, the program whose weights of the ResNets for CIFAR-10 people use.
    PytorchResnetCifar10,
}

impl Library {
    /// As people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Torchvision => "torchvision",
            Self::Timm => "timm",
            Self::HuggingFace => "transformers",
            Self::Dinov2 => "dinov2",
            Self::PytorchResnetCifar10 => "pytorch_resnet_cifar10",
        }
    }
}

/// The names of one library.
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) library: Library,
    /// The key of the network's first tensor: a file that has it speaks this dialect.
    pub(crate) anchor: &'static str,
    /// Before every name.
    pub(crate) prefix: &'static str,
    /// Before every name in what is exported: the prefix, unless the library insists on another one.
    pub(crate) exported_prefix: &'static str,
    /// Firn's name to those that a file may use, without prefix, the usual one first.
    pub(crate) names: fn(&str) -> Vec<String>,
    /// The output layer, without `.weight`.
    pub(crate) head: &'static str,
    /// Whether the export keeps what the file holds besides the network. torchvision accepts nothing that it does not know, while
    /// transformers would miss poolers and position ids.
    pub(crate) keeps_extras: bool,
}

impl Dialect {
    /// Firn's own names of image models.
    pub(crate) const fn torchvision(anchor: &'static str, head: &'static str) -> Self {
        Self {
            library: Library::Torchvision,
            anchor,
            prefix: "",
            exported_prefix: "",
            names: |name| vec![name.to_owned()],
            head,
            keeps_extras: false,
        }
    }

    /// The same names in a library that has a prefix before all of them, or renames them.
    pub(crate) const fn renamed(
        library: Library,
        anchor: &'static str,
        prefix: &'static str,
        names: fn(&str) -> Vec<String>,
        head: &'static str,
    ) -> Self {
        Self {
            library,
            anchor,
            prefix,
            exported_prefix: prefix,
            names,
            head,
            keeps_extras: false,
        }
    }

    /// timm's names of networks that begin with a stem and go on in blocks, as all its mobile ones do.
    pub(crate) const fn timm_with_stem(names: fn(&str) -> Vec<String>) -> Self {
        Self::renamed(Library::Timm, "conv_stem.weight", "", names, "classifier")
    }
}

/// A name with the words of another library: each pair replaces what it finds, one after the other.
pub(crate) fn translated(name: &str, words: &[(&str, &str)]) -> String {
    let replaced = |name: String, (ours, theirs): &(&str, &str)| name.replace(ours, theirs);
    words.iter().fold(name.to_owned(), replaced)
}

/// The number after `features.` in a name of torchvision, and what stands behind it.
pub(crate) fn numbered_feature(name: &str) -> Option<(usize, &str)> {
    let (number, tail) = name.strip_prefix("features.")?.split_once('.')?;
    Some((number.parse().ok()?, tail))
}

/// timm's group of a block and its place there, of the blocks counted from 0 through groups of so many.
pub(crate) fn grouped(block: usize, groups: impl IntoIterator<Item = usize>) -> (usize, usize) {
    let mut place = block;
    for (group, count) in groups.into_iter().enumerate() {
        if place < count {
            return (group, place);
        }
        place -= count;
    }
    unreachable!("block {block} is in none of the groups")
}

/// The naming of one file.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    pub(crate) dialect: &'static Dialect,
    /// What a training program wrapped around the network before it was saved: a prefix of every name, left out of what is exported.
    pub(crate) wrapper: String,
    /// Before every name in what is exported.
    exported_prefix: &'static str,
}

/// The attributes under which wrappers of PyTorch and its trainers keep a network: `DataParallel`, `torch.compile`, and what people call it in
/// a `LightningModule`.
const WRAPPERS: [&str; 6] = ["module", "model", "backbone", "_orig_mod", "net", "network"];

/// A key without the wrappers before it.
pub(crate) fn unwrapped(key: &str) -> &str {
    let mut rest = key;
    while let Some((first, tail)) = rest.split_once('.')
        && WRAPPERS.contains(&first)
    {
        rest = tail;
    }
    rest
}

/// What stands before the anchor in this key, if it is nothing but wrappers.
fn wrapper_of<'a>(key: &'a str, anchor: &str) -> Option<&'a str> {
    let wrapper = key.strip_suffix(anchor)?;
    let mut parts = wrapper.split_terminator('.');
    let is_wrapper = wrapper.is_empty() || wrapper.ends_with('.');
    (is_wrapper && parts.all(|part| WRAPPERS.contains(&part))).then_some(wrapper)
}

impl Naming {
    fn new(dialect: &'static Dialect, wrapper: &str) -> Self {
        Self {
            dialect,
            wrapper: wrapper.to_owned(),
            exported_prefix: dialect.exported_prefix,
        }
    }

    /// The same with what the class that opens the export has before the names of its encoder.
    pub(crate) fn exported_for(self, opened: Option<&Opened>) -> Self {
        match opened {
            Some(Opened::ByDenseClass(class)) => Self {
                exported_prefix: class.encoder,
                ..self
            },
            _ => self,
        }
    }

    /// The naming of a library's files, if the family knows it.
    pub(crate) fn of(dialects: &'static [Dialect], library: Library) -> Option<Self> {
        let dialect = dialects.iter().find(|dialect| dialect.library == library)?;
        Some(Self::new(dialect, ""))
    }

    /// The naming of Firn's own tensors, used when there is no file.
    pub(crate) fn own(dialects: &'static [Dialect]) -> Self {
        let dialect = dialects.last().expect("every family has its own names");
        Self::new(dialect, "")
    }

    /// The naming of a file with these keys; Firn's own where nothing speaks for another.
    pub(crate) fn detect<'a>(dialects: &'static [Dialect], keys: impl Iterator<Item = &'a str> + Clone) -> Self {
        let named = dialects.iter().find_map(|dialect| {
            let wrapper = keys.clone().find_map(|key| wrapper_of(key, dialect.anchor))?;
            Some(Self::new(dialect, wrapper))
        });
        named.unwrap_or_else(|| Self::own(dialects))
    }

    /// The names under which the file may keep a tensor, the usual one first.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        let names = (self.dialect.names)(name).into_iter();
        let prefix = format!("{}{}", self.wrapper, self.dialect.prefix);
        names.map(|name| format!("{prefix}{name}")).collect()
    }

    /// The name under which a tensor of the file is exported.
    pub(crate) fn exported(&self, key: &str) -> String {
        let key = key.strip_prefix(&self.wrapper).unwrap_or(key);
        match key.strip_prefix(self.dialect.prefix) {
            Some(name) => format!("{}{name}", self.exported_prefix),
            None => key.to_owned(),
        }
    }

    /// The name of the output layer in models of this naming, without `.weight`.
    pub(crate) fn head(&self) -> &'static str {
        self.dialect.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_seen_and_left_out_of_what_is_exported() {
        static DIALECTS: &[Dialect] = &[Dialect::torchvision("conv1.weight", "fc")];
        for (key, wrapper) in [
            ("conv1.weight", ""),
            ("module.conv1.weight", "module."),
            ("module.backbone.conv1.weight", "module.backbone."),
            ("layer1.0.conv1.weight", ""),
            ("submodel.conv1.weight", ""),
            ("model._orig_mod.conv1.weight", "model._orig_mod."),
            ("net.conv1.weight", "net."),
        ] {
            let naming = Naming::detect(DIALECTS, std::iter::once(key));
            assert_eq!(naming.wrapper, wrapper, "{key}");
        }
        let naming = Naming::detect(DIALECTS, std::iter::once("module.conv1.weight"));
        assert_eq!(naming.candidates("bn1.bias"), ["module.bn1.bias"]);
        assert_eq!(naming.exported("module.bn1.bias"), "bn1.bias");
    }
}
