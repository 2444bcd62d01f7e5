/** Why the ledger cannot start or cannot go on; tests and exit codes go by the kind. */
export type LedgerFaultKind =
  | 'unreachable'
  | 'server_too_old'
  | 'sync_not_always'
  | 'stream_missing'
  | 'stream_altered'
  | 'stream_empty'
  | 'begins_late'
  | 'wrong_origin'
  | 'head_file_missing'
  | 'head_file_unreadable'
  | 'shorter_than_anchor'
  | 'anchor_disagrees'
  | 'anchors_unanswered'
  | 'writer_lives'
  | 'bad_commit'
  | 'cannot_fold'
  | 'genesis_refused'
  | 'hsm'
  | 'file'
  | 'stopped'

/**
 * For the operator, never for a caller: the message says what is wrong or missing and what can be done about it.
 * It may name files of the data directory; it holds no secret.
 */
export interface LedgerFault {
  readonly kind: LedgerFaultKind
  readonly message: string
}

export type LedgerResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: LedgerFault }

export const faulty = (
  kind: LedgerFaultKind,
  message: string,
): { readonly ok: false; readonly error: LedgerFault } => ({ ok: false, error: { kind, message } })

/** A thrown value's text, for a fault or a log line. */
export const describeError = (error: unknown): string => (error instanceof Error ? error.message : String(error))
