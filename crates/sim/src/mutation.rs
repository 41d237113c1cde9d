//! Defects of a caller of the link, made on purpose: a simulator that does not find them proves nothing.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Says `durable` when bytes are written, before they are synced.
    AckBeforeDurable,
    /// Wants every item from zero, whatever is on the disk.
    ForgetOffset,
    /// Applies an item that comes again.
    ApplyTwice,
    /// Gives the less urgent classes no share.
    StarveAClass,
    /// Removes the row of an object at its deletion, instead of keeping a tombstone.
    ForgetTombstone,
    /// Gives the receipt while the effect is on its way to the disk.
    ReceiptBeforeEffect,
    /// Forgets an item when its last byte is acknowledged, not at its receipt.
    ForgetAtAck,
    /// Passes an item on in a transaction of its own, after the receipt.
    RelayAfterReceipt,
    /// Passes bytes on when they are written, before they are synced.
    PassOnBeforeDurable,
    /// Takes the length of a file after a crash for what is durable.
    TrustFileLength,
    /// Offers everything in the lowest class.
    IgnorePriority,
    /// Does not tell the link that the hours of an address are over.
    IgnoreHours,
    /// Reads the bytes of a data frame one byte too far.
    ReadWrongBytes,
    /// Does not check what it received before it makes its effect.
    AcceptDamaged,
    /// Offers nothing again after a cut.
    NoOfferAgain,
    /// Syncs an item only when all its bytes are there.
    SyncWhenWhole,
    /// Does not offer a refused item again.
    DropRefused,
    /// Does nothing about what a comparison finds.
    NoRepair,
    /// Takes what was written beyond a gap before a crash for durable.
    TrustRuns,
    /// Takes the number of durable bytes for how far they reach.
    CountForReach,
    /// Takes bytes on a lane for an answer to its newest want, however late they are.
    TakeLate,
    /// Does not hear what a want names as held.
    SendHeld,
    /// Asks for a lane and does not expect what comes over it.
    AskUnprepared,
}

impl Mutation {
    pub const ALL: [Mutation; 23] = [
        Mutation::AckBeforeDurable,
        Mutation::ForgetOffset,
        Mutation::ApplyTwice,
        Mutation::StarveAClass,
        Mutation::ForgetTombstone,
        Mutation::ReceiptBeforeEffect,
        Mutation::ForgetAtAck,
        Mutation::RelayAfterReceipt,
        Mutation::PassOnBeforeDurable,
        Mutation::TrustFileLength,
        Mutation::IgnorePriority,
        Mutation::IgnoreHours,
        Mutation::ReadWrongBytes,
        Mutation::AcceptDamaged,
        Mutation::NoOfferAgain,
        Mutation::SyncWhenWhole,
        Mutation::DropRefused,
        Mutation::NoRepair,
        Mutation::TrustRuns,
        Mutation::CountForReach,
        Mutation::TakeLate,
        Mutation::SendHeld,
        Mutation::AskUnprepared,
    ];
}
