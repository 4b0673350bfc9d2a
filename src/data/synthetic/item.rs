//! An evaluation item: a conversation, a stem and the closed set of candidates that may follow it (ruling R16).

/// One question: which candidate does the model expect after context and stem?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClozeItem {
    /// The test it belongs to.
    pub test: &'static str,
    /// Which template, and so which cluster: items of a template are not independent.
    pub template: usize,
    /// The conversation so far.
    pub context: String,
    /// What comes right before the candidate. A model whose state was reset is given only this.
    pub stem: String,
    /// What may follow, each with its leading space and each a single token.
    pub candidates: Vec<String>,
    /// Which candidate is true.
    pub truth: usize,
    /// Where in the context, in bytes, the true value was last stated.
    pub evidence: usize,
    /// Whether the conversation names other candidates in other roles.
    pub rivals: bool,
}
