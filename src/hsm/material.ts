import { encodeWire } from './wireCodec.ts'

const LID_AND_VERSION = /^(0|[1-9]\d{0,15})\/(lid_[0-9a-f]{64})\/([1-9]\d{0,9})$/

/** `chatelaine/<origin>/`: what every label of one ledger's objects begins with. */
export const toLabelPrefix = (origin: string): string => `chatelaine/${origin}/`
export const toHandleKeyLabel = (origin: string): string => `${toLabelPrefix(origin)}handle-key`
export const toLedgerRootLabel = (origin: string): string => `${toLabelPrefix(origin)}ledger-root`

export interface LabelParts {
  readonly epoch: number
  readonly lid: string
  readonly version: number
}

export const toMaterialLabel = (origin: string, parts: LabelParts): string =>
  `${toLabelPrefix(origin)}${parts.epoch}/${parts.lid}/${parts.version}`

/** The parts of a label of this origin; none for another origin's, or for a label that was not written by us. */
export const parseMaterialLabel = (origin: string, label: string): LabelParts | undefined => {
  const prefix = toLabelPrefix(origin)
  const match = label.startsWith(prefix) ? LID_AND_VERSION.exec(label.slice(prefix.length)) : null
  const [, epoch, lid, version] = match ?? []
  if (epoch === undefined || lid === undefined || version === undefined) return undefined
  return { epoch: Number(epoch), lid, version: Number(version) }
}

/** What a sealed handle is bound to (LEDGER, "Keyed hashes and sealing"): moved elsewhere, it does not open. */
export const toHandleAad = (origin: string, backend: string, lid: string, version: number): Buffer =>
  encodeWire(['chatelaine/handle/v1', origin, backend, lid, version])

export const toContextKeyAad = (origin: string, backend: string): Buffer =>
  encodeWire(['chatelaine/context-key/v1', origin, backend])
