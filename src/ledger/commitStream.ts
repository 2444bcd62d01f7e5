/** One message of the ledger's stream, as stored. */
export interface StoredMessage {
  readonly seq: number
  readonly subject: string
  readonly payload: Uint8Array
  /** The stream it stands in; absent where there is only the first one. */
  readonly stream?: string
}

/** A commit on its way into the stream; publishing it twice is publishing it once. */
export interface Publication extends StoredMessage {
  /** Hex of the commit's hash: the stream recognizes a repetition by it. */
  readonly messageId: string
}

/** What one attempt to publish said. */
export type PublishOutcome =
  | { readonly kind: 'acked'; readonly seq: number; readonly duplicate: boolean }
  /** Refused by the compare-and-swap: the stream's last sequence is not `seq − 1`, or was not when the server looked. */
  | { readonly kind: 'wrong_last'; readonly lastSeq: number }
  /** Timeout, disconnect, no leader, no space: whether the message is in the stream is not known. */
  | { readonly kind: 'unanswered'; readonly why: string }

/** What the stream's leader holds at a sequence. `absent` proves nothing about a publish that is still under way. */
export type ReadBack =
  | { readonly kind: 'found'; readonly message: StoredMessage }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unanswered'; readonly why: string }

/** What the writer asks of the stream. Nothing throws, and each answers within `natsRequestTimeoutMs`. */
export interface CommitStream {
  /** Publishes with expected stream, expected last sequence and message id. */
  publish(publication: Publication): Promise<PublishOutcome>
  /** Reads from the stream's leader, never by Direct Get: a replica may lag. */
  readBack(seq: number): Promise<ReadBack>
  /**
   * The clock by which the stream's leader stamps messages, as it stands now, in Unix milliseconds; nothing if it does
   * not answer. No evidence of anything.
   */
  tellTimeMs(): Promise<number | undefined>
}
