/** Names in an archive: eight digits, so that their order is that of the ledger. */

/** Export lines, in order; the whole file is there or none of it. */
export const SEGMENT_NAME = /^[0-9]{8}\.jsonl$/
/** The checkpoint whose size is the last sequence of the segment with the same number. */
export const CHECKPOINT_NAME = /^[0-9]{8}\.checkpoint$/

export const toSegmentName = (number: number): string => `${toDigits(number)}.jsonl`
export const toCheckpointName = (number: number): string => `${toDigits(number)}.checkpoint`

const toDigits = (number: number): string => String(number).padStart(8, '0')
