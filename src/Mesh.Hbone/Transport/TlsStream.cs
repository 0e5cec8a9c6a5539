using System.Net.Security;
using Mesh.Core.Identity;

namespace Mesh.Hbone.Transport;

/// <summary>TLS over a transport after its handshake, with as few system calls as can be. Who is idle holds no buffer. One reader and one writer at a time.</summary>
internal abstract class TlsStream : AsyncStream
{
    /// <summary>What polls the socket underneath; null when nothing of ours does.</summary>
    public abstract EventLoop? Loop { get; }

    /// <summary>What the handshake agreed on (ALPN).</summary>
    public abstract SslApplicationProtocol NegotiatedApplicationProtocol { get; }

    /// <summary>Shakes hands as a client.</summary>
    /// <param name="transport">What TLS goes over; owned from now on, and closed when the handshake fails.</param>
    /// <param name="options">Of <see cref="SpiffeTls"/>.</param>
    /// <param name="peer">What they were made with.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="System.Security.Authentication.AuthenticationException">The peer was refused, or refuses, or does not speak TLS.</exception>
    /// <exception cref="IOException">The connection was lost.</exception>
    public static Task<TlsStream> AuthenticateAsClientAsync(Stream transport, SslClientAuthenticationOptions options, PeerVerification peer, CancellationToken cancellationToken) =>
        OpenSslLibrary.IsUsable
            ? OpenSslTlsStream.AuthenticateAsync(transport, TlsParameters.Of(options, peer), cancellationToken)
            : SslTlsStream.AuthenticateAsync(transport, options, cancellationToken);

    /// <summary>Shakes hands as a server.</summary>
    /// <inheritdoc cref="AuthenticateAsClientAsync"/>
    public static Task<TlsStream> AuthenticateAsServerAsync(Stream transport, SslServerAuthenticationOptions options, PeerVerification peer, CancellationToken cancellationToken) =>
        OpenSslLibrary.IsUsable
            ? OpenSslTlsStream.AuthenticateAsync(transport, TlsParameters.Of(options, peer), cancellationToken)
            : SslTlsStream.AuthenticateAsync(transport, options, cancellationToken);

    /// <summary>Says that nothing follows (close_notify).</summary>
    public abstract Task ShutdownAsync();

    /// <summary>Gives buffers back when nothing was read or written since it was last called. Any thread may call it, at any time.</summary>
    public virtual void ReleaseIfIdle()
    {
    }

    /// <summary>Writes the one after the other, to the transport at once.</summary>
    public abstract ValueTask WriteAsync(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second);
}
