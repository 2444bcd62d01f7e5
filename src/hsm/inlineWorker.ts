import { createHsmHost, type HostConfig } from './host.ts'
import { discardSecrets, type HostReply } from './hostRequest.ts'
import type { Libraries } from './library.ts'
import { type HsmWorker, LOST } from './worker.ts'

/**
 * A host in the service's own process: the shortest path, for embedding. A call that hangs on a thread can only be
 * abandoned, and a crash of the library is a crash of the service.
 */
export const createInlineWorker = (config: HostConfig, libraries: Libraries): HsmWorker => {
  const host = createHsmHost(config, libraries)
  const pending = new Set<(reply: HostReply) => void>()
  const kill = (): void => {
    for (const resolve of [...pending]) resolve(LOST)
    pending.clear()
  }
  return {
    start: () => host.open(),
    run: (request, isWanted) =>
      new Promise((resolve, reject) => {
        if (!isWanted()) return resolve(LOST)
        pending.add(resolve)
        host.run(request).then((reply) => {
          if (pending.delete(resolve)) resolve(reply)
          else if (reply.ok) discardSecrets(reply.value)
        }, reject)
      }),
    // It ends only with the process that would be told.
    onEnd: () => undefined,
    kill,
    async stop() {
      kill()
      host.close()
    },
  }
}
