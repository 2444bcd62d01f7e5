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
