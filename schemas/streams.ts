/** The ledger: a commit that holds a change of state is on the one subject, all others on the other. */
export const SUBJECT_STATE = 'kms.ledger.state'
export const SUBJECT_USAGE = 'kms.ledger.usage'
export const STREAM_LEDGER = 'KMS_LEDGER'

/** The n-th stream of the ledger, from 1: where it goes on after n − 1 `LedgerRolled`. */
export const toLedgerStream = (number: number): string => (number === 1 ? STREAM_LEDGER : `${STREAM_LEDGER}_${number}`)

/** Which of the ledger's streams has this name; nothing for any other name. */
export const parseLedgerStream = (name: string): number | undefined => {
  if (name === STREAM_LEDGER) return 1
  const [, digits] = /^KMS_LEDGER_([1-9][0-9]{0,5})$/.exec(name) ?? []
  const number = Number(digits)
  return number > 1 ? number : undefined
}

/** Where checkpoints are kept, for whoever wants to know that the ledger was not cut. */
export const STREAM_CHECKPOINTS = 'KMS_CHECKPOINTS'
export const SUBJECT_CHECKPOINTS = 'kms.checkpoints'

/** Snapshots of the projections: derived, and no evidence of anything. */
export const STREAM_SNAPSHOTS = 'KMS_SNAPSHOTS'
export const SUBJECT_SNAPSHOTS = 'kms.snapshots'
