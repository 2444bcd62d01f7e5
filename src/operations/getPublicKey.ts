import { createPublicKey } from 'node:crypto'
import { SPECS } from '../core/lifecycle.ts'
import { fail, ok } from '../core/result.ts'
import { guardKey, type Operation, planRecord } from './operation.ts'
import { takeKey } from './use.ts'

const toPem = (spki: Uint8Array): string =>
  `-----BEGIN PUBLIC KEY-----\n${Buffer.from(spki)
    .toString('base64')
    .replace(/.{1,64}/g, '$&\n')}-----END PUBLIC KEY-----\n`

const toJwk = (spki: Uint8Array): Readonly<Record<string, string>> => {
  const jwk = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).export({ format: 'jwk' })
  return Object.fromEntries(Object.entries(jwk).filter((pair): pair is [string, string] => typeof pair[1] === 'string'))
}

/** Public halves stay readable in every state: a signature made before a lock must remain checkable elsewhere. */
export const getPublicKey: Operation<'GetPublicKey'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:GetPublicKey', ref: input.key_id }]),
  plan(input, resolved) {
    const record = takeKey(resolved)
    if (record.usage !== 'SIGN_VERIFY') return fail('INVALID_REQUEST', `${record.spec} has no public key`)
    const wanted = input.version ?? record.currentVersion
    const version = record.versions.find((candidate) => candidate.version === wanted)
    if (version?.publicKey === undefined) return fail('NOT_FOUND', 'the key has no such version')
    const spki = version.publicKey
    return ok(
      planRecord([guardKey(resolved.view, record)], () => ({
        event: { type: 'PublicKeyRead', data: { lid: record.lid, version: wanted } },
        resources: [{ lid: record.lid, version: wanted }],
        toReply: () => ({
          key_id: record.lid,
          key_version: wanted,
          // A copy: a transport zeroes what it has sent, and this array is the view's.
          public_key: Uint8Array.from(spki),
          pem: toPem(spki),
          jwk: toJwk(spki),
          signing_algorithms: [...SPECS[record.spec].algorithms],
        }),
      })),
    )
  },
}
