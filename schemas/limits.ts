/**
 * Every bound of the service in one table (invariant 14). A number that limits a size, a count, a wait or a rate
 * stands here and nowhere else; `docs/LIMITS.md` is generated from it. Units are last in each name.
 */
export const LIMITS = {
  // Requests
  requestBytesMax: 512 * 1024,
  requestDepthMax: 8,
  requestsInFlightMax: 4096,
  requestDeadlineMs: 30_000,
  tokenBytesMax: 16 * 1024,
  headerBytesMax: 32 * 1024,
  requestIdCharsMax: 128,
  idempotencyKeyCharsMax: 128,
  idempotencyWindowMs: 24 * 3600 * 1000,
  refusalsRecordedPerPrincipalPerSecond: 10,
  refusalPrincipalsTrackedMax: 4096,
  keyQueueWaitersMax: 256,
  // Keys
  descriptionBytesMax: 1024,
  tagsMax: 50,
  tagKeyBytesMax: 128,
  tagValueBytesMax: 256,
  attributePairsMax: 64,
  attributeBytesMax: 8 * 1024,
  contextPairsMax: 64,
  contextBytesMax: 8 * 1024,
  hierarchyDepthMax: 16,
  gcmMessagesPerVersionMax: 2 ** 32 - 2 ** 20,
  // Data plane
  plaintextBytesMax: 64 * 1024,
  ciphertextBytesMax: 64 * 1024 + 108,
  messageBytesMax: 64 * 1024,
  signatureBytesMax: 1024,
  randomBytesMax: 1024,
  // Lists
  pageItemsMax: 1000,
  pageItemsDefault: 100,
  pageCandidatesMax: 1000,
  cursorCharsMax: 256,
  // Ledger
  commitEventsMax: 256,
  commitBytesMax: 512 * 1024,
  eventBytesMax: 64 * 1024,
  appendQueueMax: 8192,
  appendDeadlineMs: 15_000,
  publishTimeoutMs: 2_000,
  epochCommitsRenew: 2 ** 20,
  epochCommitsMax: 2 ** 24,
  epochAgeRenewMs: 24 * 3600 * 1000,
  epochAgeMaxMs: 7 * 24 * 3600 * 1000,
  writerAskIntervalMs: 1_000,
  writerUnansweredMax: 3,
  writerJitterMs: 1_000,
  headFileLagMs: 1_000,
  consumerBytesMax: 4 * 1024 * 1024,
  natsPingIntervalMs: 5_000,
  // HSM
  hsmQueueMax: 4096,
  hsmCallDeadlineMs: 10_000,
  hsmStartDeadlineMs: 30_000,
  hsmProbeIntervalMs: 250,
  hsmProbeIntervalMaxMs: 5_000,
  hsmSessionsMax: 8,
  hsmHandleCacheMax: 10_000,
  hsmBatchBytesMax: 1024 * 1024,
  sweepWithoutConfirmationMax: 100,
  // PDP and authentication
  pdpTimeoutMs: 1_000,
  pdpMemoEntriesMax: 10_000,
  policyFilesMax: 256,
  policyBytesMax: 1024 * 1024,
  jwksTimeoutMs: 3_000,
  jwksCooldownMs: 30_000,
  jwksCacheMs: 600_000,
  jwtClockToleranceSeconds: 5,
  bootstrapTokenBytesMin: 16,
  // HTTP
  httpConnectionsMax: 4096,
  httpHeadersTimeoutMs: 10_000,
  httpKeepAliveMs: 30_000,
  // Shutdown
  drainDeadlineMs: 10_000,
} as const

/** The name of one limit. */
export type LimitName = keyof typeof LIMITS
