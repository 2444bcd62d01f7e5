import type { Contract } from '../../schemas/contract.ts'
import { isRecord } from '../core/byteFields.ts'
import { type Flag, listReplyBytes, toFlagName, toFlags, toVerbName } from './flags.ts'

/**
 * The command line of a contract's example, for a shell. Keys and jobs stand as variables (`"$KEY"`, `"$DESTINATION_KEY"`), bytes
 * that another command makes as files (`ciphertext-blob.bin`), so that the line can be pasted once those are there.
 */
export const toExampleLine = (contract: Contract): string => {
  const { request } = contract.example
  const parts = toFlags(contract).flatMap((flag) => {
    if (flag.field === 'key_id') return flag.isRequired ? ['"$KEY"'] : []
    return Object.hasOwn(request, flag.field) ? toParts(flag, request[flag.field]) : []
  })
  const out = listReplyBytes(contract)
  // What was read stays: the new blob goes beside the old one.
  const isRead = (field: string) => parts.some((part) => part.endsWith(` ${toFileName(field)}`))
  const toFile = (field: string) => (isRead(field) ? `new-${toFileName(field)}` : toFileName(field))
  const files = out.map((field) => `--${toOutName(field, out.length)} ${toFile(field)}`)
  return ['chatelaine', toVerbName(contract), ...parts, ...files].join(' ')
}

/** The flag that writes a byte field of the reply to a file: `out` where there is one, `<field>-out` where there are more. */
export const toOutName = (field: string, count: number): string => (count === 1 ? 'out' : `${toFlagName(field)}-out`)

/** The file that holds a byte field in examples: `signature.bin`. */
export const toFileName = (field: string): string => `${toFlagName(field)}.bin`

const isVariable = ({ field }: Flag): boolean => /(?:^|_)(?:key|job)_id$/.test(field)

const toVariable = (field: string): string => field.replace(/_id$/, '').toUpperCase()

const toParts = (flag: Flag, value: unknown): readonly string[] => {
  if (isVariable(flag)) return [`--${flag.name} "$${toVariable(flag.field)}"`]
  switch (flag.kind) {
    case 'bytes':
      return [toBytesPart(flag, value)]
    case 'boolean':
      return value === true ? [`--${flag.name}`] : []
    case 'texts':
      return (Array.isArray(value) ? value : []).map((item) => `--${flag.name} ${quote(String(item))}`)
    case 'pairs':
      return toPairs(value).map((pair) => `--${flag.name} ${quote(pair)}`)
    case 'tags':
      return (Array.isArray(value) ? value : []).map((tag) => `--${flag.name} ${quote(`${tag.key}=${tag.value}`)}`)
    case 'attributes':
    case 'json':
      return [`--${flag.name} ${quote(JSON.stringify(value))}`]
    default:
      return [`--${flag.name} ${quote(String(value))}`]
  }
}

/** Text where the example has some; a file where its bytes are those of another command's reply. */
const toBytesPart = (flag: Flag, value: unknown): string => {
  const bytes = value instanceof Uint8Array ? Buffer.from(value) : Buffer.alloc(0)
  const isText = bytes.length > 0 && /^[\x20-\x7e]+$/.test(bytes.toString('latin1'))
  return isText ? `--${flag.name} ${quote(bytes.toString('latin1'))}` : `--${flag.name}-file ${toFileName(flag.field)}`
}

const toPairs = (value: unknown): readonly string[] =>
  isRecord(value) ? Object.entries(value).map(([key, member]) => `${key}=${member}`) : []

const quote = (text: string): string =>
  /^[A-Za-z0-9_.,:=/@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
