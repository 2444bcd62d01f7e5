import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { BackendStatus, LedgerStatus } from '../core/ports.ts'

/** What the gauges read when they are scraped; a source that throws leaves its gauges out. */
export interface GaugeSources {
  readonly ledgerStatus?: () => LedgerStatus
  readonly hsmStatus?: () => readonly BackendStatus[]
  readonly inFlight?: () => number
}

/** The metrics of one process, in a registry of its own. Labels are from closed lists: no key, principal or request. */
export interface Metrics {
  observeOperation(done: {
    readonly operation: string
    readonly transport: string
    readonly code: string
    readonly milliseconds: number
  }): void
  observeCommit(events: number): void
  countFeedMessages(outcome: 'published' | 'dropped', count: number): void
  countRefusedReplySubject(): void
  registerGauges(sources: GaugeSources): void
  /** The exposition text of Prometheus. */
  render(): Promise<{ readonly contentType: string; readonly body: string }>
}

const LATENCY_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const EVENTS_PER_COMMIT = [1, 2, 4, 8, 16, 32, 64, 128, 256]

export const createMetrics = (): Metrics => {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const operations = new Counter({
    name: 'kms_operations_total',
    help: 'Requests answered, by operation, transport and code (OK or an error code)',
    labelNames: ['operation', 'transport', 'code'],
    registers,
  })
  const latency = new Histogram({
    name: 'kms_operation_duration_seconds',
    help: 'Time from arrival to answer',
    labelNames: ['operation', 'transport'],
    buckets: LATENCY_SECONDS,
    registers,
  })
  const events = new Histogram({
    name: 'kms_ledger_events_per_commit',
    help: 'Events that one commit carries',
    buckets: EVENTS_PER_COMMIT,
    registers,
  })
  const refused = new Counter({
    name: 'kms_refused_reply_subjects_total',
    help: 'NATS requests dropped because their reply subject is absent or not an inbox',
    registers,
  })
  const feed = new Counter({
    name: 'kms_feed_messages_total',
    help: 'State changes announced on the live feed, by whether the NATS server took them',
    labelNames: ['outcome'],
    registers,
  })
  return {
    observeOperation: ({ operation, transport, code, milliseconds }) => {
      operations.inc({ operation, transport, code })
      latency.observe({ operation, transport }, milliseconds / 1000)
    },
    observeCommit: (count) => events.observe(count),
    countFeedMessages: (outcome, count) => feed.inc({ outcome }, count),
    countRefusedReplySubject: () => refused.inc(),
    registerGauges: (sources) => {
      if (sources.ledgerStatus) addLedgerGauges(registry, sources.ledgerStatus)
      if (sources.hsmStatus) addHsmGauges(registry, sources.hsmStatus)
      if (sources.inFlight) addGauge(registry, IN_FLIGHT, sources.inFlight)
    },
    render: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  }
}

interface Named {
  readonly name: string
  readonly help: string
}

const IN_FLIGHT: Named = { name: 'kms_requests_in_flight', help: 'Requests being worked on, both transports' }
const ROLES = ['starting', 'writer', 'follower', 'stopped'] as const

const LEDGER_GAUGES: readonly (Named & { readonly read: (status: LedgerStatus) => number })[] = [
  { name: 'kms_ledger_head_seq', help: 'Sequence of the last confirmed commit', read: (status) => status.seq },
  { name: 'kms_ledger_epoch', help: 'Epoch of the last confirmed commit', read: (status) => status.epoch },
  { name: 'kms_ledger_queue', help: 'Records waiting for their commit', read: (status) => status.queued },
  { name: 'kms_ledger_in_doubt', help: '1 while a commit is unconfirmed', read: (status) => Number(status.inDoubt) },
  { name: 'kms_ledger_alarm', help: '1 when the ledger has stopped', read: (status) => Number(!!status.alarm) },
]

const CHECKPOINT_GAUGES: readonly (Named & { readonly read: (status: LedgerStatus) => number | undefined })[] = [
  {
    name: 'kms_ledger_checkpoint_age_seconds',
    help: 'Time since this process signed its newest checkpoint',
    read: ({ checkpoints }) => toSeconds(checkpoints?.signed?.ageMs),
  },
  {
    name: 'kms_ledger_anchored_age_seconds',
    help: 'Age of the newest checkpoint that enough anchors have',
    read: ({ checkpoints }) => toSeconds(checkpoints?.anchored?.ageMs),
  },
  {
    name: 'kms_ledger_anchored_seq',
    help: 'Sequence up to which the ledger is anchored',
    read: ({ checkpoints }) => checkpoints?.anchored?.size,
  },
  {
    name: 'kms_ledger_anchors_failing',
    help: 'Anchors that did not take the newest checkpoint they were handed',
    read: ({ checkpoints }) => checkpoints?.anchors.filter(({ failing }) => failing !== undefined).length,
  },
]

const STORAGE_GAUGES: typeof CHECKPOINT_GAUGES = [
  {
    name: 'kms_ledger_storage_used_bytes',
    help: 'What the fullest server has in its JetStream store',
    read: ({ storage }) => storage?.usedBytes,
  },
  {
    name: 'kms_ledger_storage_limit_bytes',
    help: 'How much that server takes before it refuses every message',
    read: ({ storage }) => storage?.limitBytes,
  },
]

const SNAPSHOT_GAUGES: typeof CHECKPOINT_GAUGES = [
  {
    name: 'kms_ledger_snapshot_seq',
    help: 'Sequence of the newest snapshot that this process wrote or started from: a start reads what came after it',
    read: ({ snapshot }) => snapshot?.seq,
  },
  {
    name: 'kms_ledger_snapshot_age_seconds',
    help: 'Time since that snapshot was written, or since its last commit where another process wrote it',
    read: ({ snapshot }) => toSeconds(snapshot?.ageMs),
  },
]

const toSeconds = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1000)

/** A gauge whose value is read at each scrape. */
const addGauge = (registry: Registry, named: Named, read: () => number): void => {
  new Gauge({
    ...named,
    registers: [registry],
    collect() {
      this.set(read())
    },
  })
}

const addLedgerGauges = (registry: Registry, status: () => LedgerStatus): void => {
  for (const { read, ...named } of LEDGER_GAUGES) addGauge(registry, named, () => read(status()))
  // No value is no statement: a process that has signed nothing yet is not zero seconds behind.
  for (const { read, ...named } of [...CHECKPOINT_GAUGES, ...SNAPSHOT_GAUGES, ...STORAGE_GAUGES])
    new Gauge({
      ...named,
      registers: [registry],
      collect() {
        const value = read(status())
        if (value === undefined) this.remove()
        else this.set(value)
      },
    })
  new Gauge({
    name: 'kms_ledger_role',
    help: '1 for the role this process has',
    labelNames: ['role'],
    registers: [registry],
    collect() {
      const { role } = status()
      for (const each of ROLES) this.set({ role: each }, Number(each === role))
    },
  })
}

const addHsmGauges = (registry: Registry, status: () => readonly BackendStatus[]): void => {
  const add = (named: Named, read: (backend: BackendStatus) => number): void => {
    new Gauge({
      ...named,
      labelNames: ['backend'],
      registers: [registry],
      collect() {
        for (const backend of status()) this.set({ backend: backend.backend }, read(backend))
      },
    })
  }
  add({ name: 'kms_hsm_breaker_open', help: '1 while calls to the backend are refused at once' }, ({ breaker }) =>
    Number(breaker === 'open'),
  )
  add({ name: 'kms_hsm_queue', help: 'Instructions waiting for the backend' }, ({ queued }) => queued)
}
