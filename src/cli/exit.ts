/** What the CLI's exit code says. `ledger verify` has its own: 0 ok, 1 unanchored tail, 2 FAIL, 3 could not run. */
export const EXIT = { ok: 0, refused: 1, usage: 2, unreachable: 3 } as const

/** Why a command ended without its result; `message` is for the person at the terminal. */
export interface CliFault {
  readonly exit: 1 | 2 | 3
  readonly message: string
  /** The service's own error body, where it refused. */
  readonly refusal?: Readonly<Record<string, unknown>>
}

/** A {@link CliFault} of exit code 3: nobody answers, or a file cannot be read or written. */
export const unreachable = (message: string): { readonly ok: false; readonly error: CliFault } => ({
  ok: false,
  error: { exit: EXIT.unreachable, message },
})

/** A {@link CliFault} of exit code 2: the command line is wrong. */
export const misused = (message: string): { readonly ok: false; readonly error: CliFault } => ({
  ok: false,
  error: { exit: EXIT.usage, message },
})

/** Words for an I/O error: Node's own, which name the call and the path. */
export const describeError = (error: unknown): string => (error instanceof Error ? error.message : 'unknown error')
