import type { Finding } from '../core/chainState.ts'

/** Thrown when the stored ledger is not one unbroken chain. Nothing of it or after it was given out. */
export class LedgerFault extends Error {
  readonly findings: readonly Finding[]
  constructor(findings: readonly Finding[]) {
    const [first] = findings
    super(`the ledger is not valid at ${first?.seq}: ${first?.reason}`)
    this.name = 'LedgerFault'
    this.findings = findings
  }
}

/** Thrown when the streams no longer have the next message: they were rolled, and older ones deleted once archived. */
export class LedgerArchived extends Error {
  /** The first sequence that the streams still have. */
  readonly firstSeq: number
  constructor(wanted: number, { name, begin }: { readonly name: string; readonly begin: number }) {
    super(
      `the ledger's streams begin at ${begin}, in ${name}, and reading would begin at ${wanted}: the archive has what ` +
        `is before; verify it, and begin at a position after it`,
    )
    this.name = 'LedgerArchived'
    this.firstSeq = begin
  }
}
