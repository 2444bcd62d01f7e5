import Type, { type TProperties } from 'typebox'
import { contract, Reply } from './contract.ts'
import type { ErrorCode } from './errors.ts'
import { Key } from './keys.ts'
import { Fields, KeyId, Revision } from './primitives.ts'

interface Change<N extends string, Q extends TProperties, R extends TProperties> {
  readonly name: N
  readonly summary: string
  readonly method?: 'POST' | 'PUT'
  readonly path: string
  readonly request: Q
  readonly reply: R
  readonly codes?: readonly ErrorCode[]
  readonly example: Readonly<Record<string, unknown>>
}

/** A change of something that is there already, by one route: it takes an idempotency key. */
export const change = <const N extends string, Q extends TProperties, R extends TProperties>(
  declared: Change<N, Q, R>,
) =>
  contract({
    name: declared.name,
    summary: declared.summary,
    effect: 'change',
    idempotent: true,
    routes: [{ method: declared.method ?? 'POST', path: declared.path, status: 200 }],
    request: Fields(declared.request),
    reply: Reply(declared.reply),
    codes: [...(declared.codes ?? []), 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'],
    example: { request: declared.example },
  })

/** A change of one key, at `/keys/:id` and `path`: takes `if_revision` too, and answers with the key as it is now. */
export const changeKey = <const N extends string, Q extends TProperties, R extends TProperties>(
  declared: Change<N, Q, R>,
) =>
  change({
    ...declared,
    path: `/keys/:id${declared.path}`,
    request: { key_id: KeyId, ...declared.request, if_revision: Type.Optional(Revision) },
    reply: { key: Key, ...declared.reply },
    codes: ['KEY_NOT_FOUND', ...(declared.codes ?? [])],
  })
