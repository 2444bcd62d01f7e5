/** The ledger: a commit that holds a change of state is on the one subject, all others on the other. */
export const SUBJECT_STATE = 'kms.ledger.state'
export const SUBJECT_USAGE = 'kms.ledger.usage'
export const STREAM_LEDGER = 'KMS_LEDGER'

/** Where checkpoints are kept, for whoever wants to know that the ledger was not cut. */
export const STREAM_CHECKPOINTS = 'KMS_CHECKPOINTS'
export const SUBJECT_CHECKPOINTS = 'kms.checkpoints'

/** Snapshots of the projections: derived, and no evidence of anything. */
export const STREAM_SNAPSHOTS = 'KMS_SNAPSHOTS'
export const SUBJECT_SNAPSHOTS = 'kms.snapshots'
