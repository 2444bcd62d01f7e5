import { isRecord } from '../core/byteFields.ts'

/**
 * A reply for people: one `field: value` a line, members indented, items of a list after a dash. Bytes are shown as text
 * where they are printable, else as base64. Control characters are escaped, so that no stored text can drive a terminal.
 */
export const renderReply = (reply: Readonly<Record<string, unknown>>): string => `${toLines(reply).join('\n')}\n`

/** Any text on one line, control characters escaped. */
export const toPlainText = (text: string): string => (CONTROL.test(text) ? JSON.stringify(text) : text)

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/

const toLines = (value: Readonly<Record<string, unknown>>): readonly string[] =>
  Object.entries(value).flatMap(([name, member]) => toMemberLines(toPlainText(name), member))

const toMemberLines = (name: string, value: unknown): readonly string[] => {
  if (value instanceof Uint8Array) return [toBytesLine(name, value)]
  if (Array.isArray(value)) return toListLines(name, value)
  if (isRecord(value)) {
    const lines = toLines(value)
    return lines.length === 0 ? [`${name}: none`] : [`${name}:`, ...lines.map(indent)]
  }
  if (typeof value === 'string' && isBlock(value)) return [`${name}:`, ...value.trimEnd().split('\n').map(indent)]
  return [`${name}: ${toScalar(value)}`]
}

const toListLines = (name: string, items: readonly unknown[]): readonly string[] => {
  if (items.length === 0) return [`${name}: none`]
  return [
    `${name}:`,
    ...items.flatMap((item) => {
      const lines = isRecord(item) ? toLines(item) : [toScalar(item)]
      return lines.map((line, at) => (at === 0 ? `  - ${line}` : `    ${line}`))
    }),
  ]
}

const toBytesLine = (name: string, bytes: Uint8Array): string => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const text = buffer.toString('utf8')
  const isText = bytes.length > 0 && !CONTROL.test(text) && Buffer.from(text).equals(buffer)
  return isText ? `${name}: ${text}` : `${name} (base64): ${buffer.toString('base64')}`
}

/** Several lines of harmless text, such as a PEM. */
const isBlock = (text: string): boolean => text.includes('\n') && !CONTROL.test(text.replaceAll('\n', ''))

const toScalar = (value: unknown): string => (typeof value === 'string' ? toPlainText(value) : JSON.stringify(value))

const indent = (line: string): string => `  ${line}`
