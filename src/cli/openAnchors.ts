import type { NatsConnection } from '@nats-io/transport-node'
import type { Config } from '../../schemas/config.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { parseNoteKey } from '../core/signedNote.ts'
import type { Anchor } from '../ledger/anchors/anchor.ts'
import { createStreamAnchor } from '../ledger/anchors/streamAnchor.ts'
import { createWitnessAnchor } from '../ledger/anchors/witnessAnchor.ts'
import { connectNats } from '../ledger/connections.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import type { CheckpointSettings } from '../ledger/options.ts'
import { fault, type OperatorFault } from './config.ts'
import { toNatsTls } from './connections.ts'

/** The checkpoints of a configuration, and the connections that its anchors made. */
export interface OpenAnchors {
  readonly settings: CheckpointSettings
  close(): Promise<void>
}

/**
 * Makes the anchors of a configuration. One that is away is asked again each time, and is no fault; a witness key that cannot
 * be read is. `ledger` is the connection that appends to the ledger.
 */
export const openAnchors = (
  { data_dir, ledger }: Pick<Config, 'data_dir' | 'ledger'>,
  origin: string,
  ports: { readonly ledger: NatsConnection; readonly telemetry: Telemetry },
): Result<OpenAnchors, OperatorFault> => {
  const { stream, witnesses, required, required_witnesses } = ledger.anchors
  const anchors: Anchor[] = []
  const own = stream?.servers === undefined ? undefined : createOwnConnection(stream, ports.telemetry)
  if (stream !== undefined)
    anchors.push(createStreamAnchor(own === undefined ? async () => ports.ledger : own.get, origin))
  for (const [at, { url, key: text }] of witnesses.entries()) {
    const key = parseNoteKey(text)
    if (!key.ok) return fault(`ledger.anchors.witnesses.${at}.key: ${key.error}`)
    if (key.value.type !== 'cosignature')
      return fault(`ledger.anchors.witnesses.${at}.key: is not the key of a witness (type 04)`)
    anchors.push(createWitnessAnchor(url, key.value))
  }
  const files = toLedgerFiles(data_dir)
  const settings: CheckpointSettings = {
    ...{ file: files.checkpoint, treeFile: files.tree, anchors, required },
    requiredWitnesses: required_witnesses,
    intervalMs: ledger.checkpoint_interval_ms,
    witnessIntervalMs: Math.max(ledger.witness_interval_ms, ledger.checkpoint_interval_ms),
  }
  return ok({ settings, close: async () => own?.close() })
}

type StreamConfig = NonNullable<Config['ledger']['anchors']['stream']>

/** A connection to servers of the stream's own, made when it is wanted, and tried anew while they are away. */
const createOwnConnection = (stream: StreamConfig, telemetry: Telemetry) => {
  let opening: ReturnType<typeof connectNats> | undefined
  const open = () => {
    const { servers = [], user, password_file, tls } = stream
    return connectNats({
      servers,
      user,
      ...(password_file === undefined ? {} : { passwordFile: password_file }),
      ...toNatsTls(tls),
      telemetry,
    })
  }
  return {
    async get(): Promise<NatsConnection> {
      opening ??= open()
      const opened = await opening
      if (opened.ok) return opened.value
      opening = undefined
      throw new Error(opened.error.message)
    },
    async close(): Promise<void> {
      const opened = await opening
      if (opened?.ok) await opened.value.close()
    },
  }
}
