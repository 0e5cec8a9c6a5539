using System.Net;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Server;
using Mesh.Hbone.Transport;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Mesh.AspNetCore.Server;

/// <summary>Kestrel's way to HBONE: each tunnel becomes a connection.</summary>
internal sealed class HboneConnectionListenerFactory(
    IOptions<MeshOptions> options, MeshState state, WorkloadCertificates certificates, TransportFactory transport, TimeProvider time, ILogger<HboneConnectionListenerFactory> logger)
    : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    public bool CanBind(EndPoint endpoint) => endpoint is HboneEndPoint;

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        if (endpoint is not HboneEndPoint hbone)
        {
            throw new NotSupportedException($"{endpoint} is not an HBONE endpoint");
        }

        try
        {
            hbone.Binding.Start(Listen, options.Value, state, time, logger);
        }
        catch (IOException e) when (e.InnerException is System.Net.Sockets.SocketException { SocketErrorCode: System.Net.Sockets.SocketError.AddressAlreadyInUse })
        {
            throw new AddressInUseException(e.Message, e);
        }

        return new ValueTask<IConnectionListener>(new Listener(hbone));
    }

    private HboneListener Listen(IPEndPoint address)
    {
        // Set: the options were validated at start.
        var identity = options.Value.Identity!;
        return HboneListener.Start(transport.Listen(address), new HboneListenerOptions
        {
            Certificate = stop => certificates.GetAsync(identity, cancellationToken: stop),
            Trust = certificates.TrustBundle,
            Aliases = options.Value.TrustDomainAliases,
            Hbone = options.Value.Hbone,
            Time = time,
            Logger = logger,
        });
    }

    private sealed class Listener(HboneEndPoint endPoint) : IConnectionListener
    {
        private int _disposed;

        public EndPoint EndPoint => endPoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            var connections = endPoint.Binding.Connections(endPoint.Protocols);
            while (await connections.WaitToReadAsync(cancellationToken))
            {
                if (connections.TryRead(out var connection))
                {
                    return connection;
                }
            }

            return null;
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
        {
            endPoint.Binding.Stop();
            return default;
        }

        public ValueTask DisposeAsync() => Interlocked.Exchange(ref _disposed, 1) == 0 ? endPoint.Binding.ReleaseAsync() : default;
    }
}
