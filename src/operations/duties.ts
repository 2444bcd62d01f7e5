import type { Duty } from './duty.ts'

/** Everything the writer does of its own accord. */
export const DUTIES: readonly Duty[] = []
