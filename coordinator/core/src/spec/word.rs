//! A choice that people write as one word.

/// A choice that is written as one word.
pub trait Word: Sized + Clone + PartialEq + 'static {
    /// Every choice with its word, in the order in which an error lists them.
    const WORDS: &'static [(&'static str, Self)];

    /// The word of this choice.
    fn word(&self) -> &'static str {
        let entry = Self::WORDS.iter().find(|(_, choice)| choice == self);
        entry.expect("every choice stands in the table of its words").0
    }

    /// The choice of a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, choice)| choice.clone())
    }
}
