//! Under which names a file keeps the tensors of a network.
//!
//! Inside Firn every tensor has one name: torchvision's for image models, Hugging Face's without prefix for text models. A file may use
//! others; which ones is decided once, from the keys that it has. Each family lists the dialects it knows.

/// The names of one library.
#[derive(Debug)]
pub(crate) struct Dialect {
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
            anchor,
            prefix: "",
            exported_prefix: "",
            names: |name| vec![name.to_owned()],
            head,
            keeps_extras: false,
        }
    }
}

/// The naming of one file.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    pub(crate) dialect: &'static Dialect,
}

impl Naming {
    /// The naming of Firn's own tensors, used when there is no file.
    pub(crate) fn own(dialects: &'static [Dialect]) -> Self {
        let dialect = dialects.last().expect("every family has its own names");
        Self { dialect }
    }

    /// The naming of a file with these keys; Firn's own where nothing speaks for another.
    pub(crate) fn detect(dialects: &'static [Dialect], has: impl Fn(&str) -> bool) -> Self {
        match dialects.iter().find(|dialect| has(dialect.anchor)) {
            Some(dialect) => Self { dialect },
            None => Self::own(dialects),
        }
    }

    /// The names under which the file may keep a tensor, the usual one first.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        let names = (self.dialect.names)(name).into_iter();
        names.map(|name| format!("{}{name}", self.dialect.prefix)).collect()
    }

    /// The name under which a tensor of the file is exported.
    pub(crate) fn exported(&self, key: &str) -> String {
        match key.strip_prefix(self.dialect.prefix) {
            Some(name) => format!("{}{name}", self.dialect.exported_prefix),
            None => key.to_owned(),
        }
    }

    /// The name of the output layer in models of this naming, without `.weight`.
    pub(crate) fn head(&self) -> &'static str {
        self.dialect.head
    }
}
