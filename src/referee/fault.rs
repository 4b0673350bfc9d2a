//! Mistakes that the referee can be told to make, so that tests see that its agreement means something: with any of
//! them an audit of sound evidence must find a difference.

/// A mistake, named for what is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Attention also reads the next position.
    SeesNext,
    /// The gradient of the attention's queries has the wrong sign.
    SignOfQueries,
    /// RWKV-6's bonus u counts as zero.
    NoBonus,
    /// The gradient of RWKV-6's decay has the wrong sign.
    SignOfDecay,
    /// The token shift sees the token after.
    ShiftsForward,
    /// The convolution's taps in the opposite order.
    TapsReversed,
    /// GroundThink's gate weighs the other branch.
    BranchesSwapped,
    /// The gradient of a norm without what flows through its mean square.
    NormAsConstant,
    /// A target is the token itself.
    TargetsOffByOne,
    /// A step reads the windows of the next.
    NextWindows,
    /// No weight decay.
    NoDecay,
    /// Weight decay on vectors too.
    DecaysVectors,
    /// Moments are not corrected for their start at zero.
    NoBiasCorrection,
    /// Gradients are not clipped.
    NoClipping,
    /// Warm-up begins at zero.
    WarmsUpFromZero,
    /// Gradients of a step's windows are added and not averaged.
    SumsWindows,
    /// Both moments decay alike.
    OneBeta,
    /// Residual projections start as wide as all others.
    ResidualsWide,
    /// Initial weights are drawn from the next seed.
    OtherSeed,
    /// Losses in bits.
    Bits,
    /// Windows of an evaluation begin half a window later.
    ShiftedWindows,
    /// A parameter is not counted.
    CountsOneLess,
    /// Prompts that are longer than the window lose their end.
    CutsRight,
    /// Windows over a document do not overlap.
    DisjointWindows,
}

impl Fault {
    /// Every mistake.
    pub const ALL: &'static [Fault] = &[
        Fault::SeesNext,
        Fault::SignOfQueries,
        Fault::NoBonus,
        Fault::SignOfDecay,
        Fault::ShiftsForward,
        Fault::TapsReversed,
        Fault::BranchesSwapped,
        Fault::NormAsConstant,
        Fault::TargetsOffByOne,
        Fault::NextWindows,
        Fault::NoDecay,
        Fault::DecaysVectors,
        Fault::NoBiasCorrection,
        Fault::NoClipping,
        Fault::WarmsUpFromZero,
        Fault::SumsWindows,
        Fault::OneBeta,
        Fault::ResidualsWide,
        Fault::OtherSeed,
        Fault::Bits,
        Fault::ShiftedWindows,
        Fault::CountsOneLess,
        Fault::CutsRight,
        Fault::DisjointWindows,
    ];
}
