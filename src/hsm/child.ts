import { Socket } from 'node:net'
import { createHsmHost, type HsmHost } from './host.ts'
import { discardSecrets, type HostReply, isHostRequest } from './hostRequest.ts'
import { createLibraries } from './library.ts'
import { createPipe } from './pipe.ts'
import { isHello, PIPE_FD } from './processProtocol.ts'

/**
 * The child process of the `process` placement: the only one that loads the PKCS#11 library and reads the PIN. It takes
 * requests from its pipe until the pipe ends, which is also how it learns that its parent is gone.
 */
const serve = (): void => {
  // Ctrl-C reaches the whole process group; the service drains first and then ends the pipe.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
  let host: HsmHost | undefined
  const answer = async (request: unknown): Promise<HostReply> => {
    if (isHello(request)) {
      host ??= createHsmHost(request.config, createLibraries())
      return host.open()
    }
    if (host === undefined || !isHostRequest(request)) throw new Error('a request that this host does not know')
    try {
      return await host.run(request)
    } finally {
      discardSecrets(request)
    }
  }
  const socket = new Socket({ fd: PIPE_FD })
  const pipe = createPipe(socket, (message) => {
    if (!Array.isArray(message)) throw new Error('a message is a pair of id and request')
    const [id, request]: unknown[] = message
    answer(request).then(
      (reply) => pipe.send({ message: [id, reply], done: () => discardSecrets(reply.ok ? reply.value : reply) }),
      (fault: unknown) => pipe.send({ message: [id, { fault: fault instanceof Error ? fault.message : 'unknown' }] }),
    )
  })
  socket.on('error', () => process.exit(1))
  socket.on('close', () => process.exit(0))
  socket.on('end', () => {
    host?.close()
    process.exit(0)
  })
}

serve()
