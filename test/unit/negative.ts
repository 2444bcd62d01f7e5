/** What must not compile. `tsc` fails here if one of these lines ever does. Nothing in this file is run. */
import type { Guard } from '../../projections/guards.ts'
import type { ErrorCode } from '../../schemas/errors.ts'
import type { Event, EventData } from '../../schemas/events.ts'
import type { Request } from '../../schemas/registry.ts'
import type { Instruction, Lid, OutputOf } from '../../src/core/instruction.ts'
import { parseLid } from '../../src/core/lid.ts'
import type { Hsm, Principal } from '../../src/core/ports.ts'
import type { Outgoing } from '../../src/core/request.ts'
import { fail, type Result } from '../../src/core/result.ts'
import type { Sensitive } from '../../src/core/sensitive.ts'
import { decrypt } from '../../src/operations/decrypt.ts'
import { encrypt } from '../../src/operations/encrypt.ts'
import {
  type Facts,
  type Operation,
  planInstruction,
  type Recorded,
  type Resolved,
} from '../../src/operations/operation.ts'
import { OPERATIONS } from '../../src/operations/registry.ts'

declare const secret: Sensitive
declare const hsm: Hsm
declare const signal: AbortSignal
declare const resolved: Resolved
declare const facts: Facts
declare const instruction: Instruction & { kind: 'encrypt' }
declare const outgoing: Outgoing
declare const principal: Principal

const { Encrypt: _left, ...allButOne } = OPERATIONS

export const notCompiled = async () => {
  // @ts-expect-error an operation without an entry in the registry
  const missing: typeof OPERATIONS = allButOne
  // @ts-expect-error an operation filed under another's contract
  const crossed: Operation<'Encrypt'> = decrypt
  // @ts-expect-error a request of another operation
  encrypt.plan({ ciphertext_blob: new Uint8Array(1) }, resolved)
  // @ts-expect-error a required field left out
  const incomplete: Request<'Encrypt'> = { key_id: 'alias/a' }
  // @ts-expect-error a name outside the closed list
  const spec: Request<'CreateKey'> = { key_spec: 'DES' }
  // @ts-expect-error a reply without its fields
  const reply: Recorded<'Encrypt'>['toReply'] = () => ({})
  // @ts-expect-error a record made of the output of another instruction
  planInstruction<'Decrypt', typeof instruction>(instruction, [], ({ plaintext }) => plaintext)

  // @ts-expect-error secret bytes as text
  const text: string = secret
  // @ts-expect-error secret bytes as bytes, without the word expose
  const bytes: Uint8Array = secret
  // @ts-expect-error a string where a secret is wanted
  const wrapped: Sensitive = 'secret'

  // @ts-expect-error a key id that nobody has parsed
  const lid: Lid = 'lid_0'
  // @ts-expect-error a parsed id without a look at whether it was one
  const parsed: Lid = parseLid('lid_0').value

  // @ts-expect-error the output of another instruction
  const output: OutputOf<typeof instruction> = { plaintext: secret }
  // @ts-expect-error an instruction of no kind
  await hsm.execute({ kind: 'exportKey', backend: 'main' }, signal)
  // @ts-expect-error a port call that cannot be aborted
  await hsm.execute(instruction)
  // @ts-expect-error an output read before it is known to be one
  const blob: Uint8Array = (await hsm.execute(instruction, signal)).value.blob

  // @ts-expect-error an event that does not exist
  const event: Event['type'] = 'KeyStolen'
  // @ts-expect-error data of another event
  const data: EventData<'KeyDisabled'> = { items: 1 }
  // @ts-expect-error a code outside the table
  const code: ErrorCode = 'TEAPOT'
  // @ts-expect-error a failure with such a code
  fail('TEAPOT', 'no')
  // @ts-expect-error a guard that the committer does not know
  const guard: Guard = { kind: 'hope' }

  // @ts-expect-error the body of an answer that may be an error
  const body = outgoing.body
  // @ts-expect-error a value of a result that may be a failure
  const unchecked = (result: Result<number>): number => result.value
  // @ts-expect-error plans cannot change what they are told
  facts.nowMs = 0
  // @ts-expect-error nor the view
  resolved.view.at.seq = 0
  // @ts-expect-error nor who asks
  principal.id = 'root'

  return {
    missing,
    reply,
    crossed,
    incomplete,
    spec,
    text,
    bytes,
    wrapped,
    lid,
    parsed,
    output,
    blob,
    event,
    data,
    code,
    guard,
    body,
    unchecked,
  }
}
