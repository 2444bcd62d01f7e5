import { open } from 'node:fs/promises'
import { createEventCheck } from '../src/core/eventCheck.ts'
import { createVerifier } from '../src/ledger/tip.ts'
import { parseExportLine } from '../src/verify/exportLine.ts'
import { parseVkey } from '../src/verify/vkey.ts'

/** The body of a measured process: verifies an export and folds it into all views. Arguments: file, vkey. */
const [path = '', vkey = ''] = process.argv.slice(2)
const pin = parseVkey(vkey)
if (!pin.ok) throw new Error(pin.error)
const verifier = createVerifier(pin.value, createEventCheck())
let tip = verifier.start
const file = await open(path)
for await (const line of file.readLines()) {
  const message = parseExportLine(Buffer.from(line))
  if (!message.ok) throw new Error(message.error)
  const next = verifier.advance(tip, message.value)
  if (!next.ok) throw new Error(JSON.stringify(next.error))
  tip = next.value
}
console.log(`${tip.chain.events} events`)
