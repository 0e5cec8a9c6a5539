using System.Buffers;
using System.Net.Security;
using System.Runtime.CompilerServices;

namespace Mesh.Hbone.Transport;

/// <summary>TLS by the runtime's <see cref="SslStream"/>: for systems without an OpenSSL that can be called directly.</summary>
/// <remarks><see cref="SslStream"/> alone reads one record at a time (16 KiB, and asks before each whether there is something) and writes two.</remarks>
internal sealed class SslTlsStream : TlsStream
{
    private readonly TransportBuffer _buffer;
    private readonly SslStream _tls;

    private SslTlsStream(Stream transport)
    {
        _buffer = new TransportBuffer(transport);
        _tls = new SslStream(_buffer, leaveInnerStreamOpen: false);
    }

    public override EventLoop? Loop => _buffer.Loop;

    public override SslApplicationProtocol NegotiatedApplicationProtocol => _tls.NegotiatedApplicationProtocol;

    /// <inheritdoc cref="TlsStream.AuthenticateAsClientAsync"/>
    public static Task<TlsStream> AuthenticateAsync(Stream transport, SslClientAuthenticationOptions options, CancellationToken cancellationToken) =>
        InTurnsAsync(transport, tls => tls.AuthenticateAsClientAsync(options, cancellationToken), beginsWithWork: true, cancellationToken);

    /// <inheritdoc cref="TlsStream.AuthenticateAsServerAsync"/>
    public static Task<TlsStream> AuthenticateAsync(Stream transport, SslServerAuthenticationOptions options, CancellationToken cancellationToken) =>
        InTurnsAsync(transport, tls => tls.AuthenticateAsServerAsync(options, cancellationToken), beginsWithWork: false, cancellationToken);

    public override Task ShutdownAsync() => _tls.ShutdownAsync();

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => _tls.ReadAsync(buffer, cancellationToken);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => _tls.WriteAsync(buffer, cancellationToken);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second)
    {
        _buffer.Cork();
        if (!first.IsEmpty)
        {
            await _tls.WriteAsync(first);
        }

        if (!second.IsEmpty)
        {
            await _tls.WriteAsync(second);
        }

        await _buffer.UncorkAsync();
    }

    public override async ValueTask DisposeAsync()
    {
        await _tls.DisposeAsync();
        await base.DisposeAsync();
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _tls.Dispose();
        }

        base.Dispose(disposing);
    }

    private static async Task<TlsStream> InTurnsAsync(Stream transport, Func<SslStream, Task> handshake, bool beginsWithWork, CancellationToken cancellationToken)
    {
        var stream = new SslTlsStream(transport);
        var turn = new HandshakeTurn();
        try
        {
            if (beginsWithWork)
            {
                await turn.TakeAsync(cancellationToken);
            }

            stream._buffer.Turn = turn;
            await handshake(stream._tls);
            return stream;
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
        finally
        {
            stream._buffer.Turn = null;
            turn.GiveBack();
        }
    }

    /// <summary>Stands between TLS and the socket.</summary>
    private sealed class TransportBuffer : AsyncStream
    {
        // Eight records; a socket has seldom more.
        private const int ReadSize = 128 * 1024;

        private readonly Stream _transport;
        private readonly IPolledStream? _polled;
        private readonly Http2.OutputBuffer _corked = new();
        private bool _isCorked;
        private byte[]? _read;
        private int _start;
        private int _end;

        public TransportBuffer(Stream transport)
        {
            _transport = transport;
            _polled = transport as IPolledStream;
        }

        /// <summary>Whose turn it is to compute, during a handshake; null after it.</summary>
        public HandshakeTurn? Turn { get; set; }

        /// <summary>What polls the socket; null when nothing of ours does.</summary>
        public EventLoop? Loop => (_transport as PolledStream)?.Loop;

        private bool HasBuffered => _end > _start;

        /// <summary>What is written from now on is kept until <see cref="UncorkAsync"/>, which writes it to the transport at once.</summary>
        public void Cork() => _isCorked = true;

        /// <inheritdoc cref="Cork"/>
        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
        public async ValueTask UncorkAsync()
        {
            _isCorked = false;
            try
            {
                await _transport.WriteAsync(_corked.Written);
            }
            finally
            {
                _corked.Release();
            }
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (HasBuffered)
            {
                return new ValueTask<int>(Take(buffer.Span));
            }

            // Whoever waits for the network does not keep others from computing.
            Turn?.GiveBack();

            // To ask for nothing is to wait until there is something.
            return buffer.Length > 0 ? FillAsync(buffer, cancellationToken)
                : _polled is not null ? WaitAsync(_polled, cancellationToken)
                : _transport.ReadAsync(buffer, cancellationToken);
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (!_isCorked)
            {
                var write = _transport.WriteAsync(buffer, cancellationToken);
                return Turn is { } turn && !write.IsCompleted ? WaitOutOfTurnAsync(write, turn, cancellationToken) : write;
            }

            _corked.Append(buffer.Span);
            return default;
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => _transport.FlushAsync(cancellationToken);

        public override void Flush() => _transport.Flush();

        public override async ValueTask DisposeAsync()
        {
            await _transport.DisposeAsync();
            await base.DisposeAsync();
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _transport.Dispose();
            }

            base.Dispose(disposing);
        }

        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
        private async ValueTask<int> FillAsync(Memory<byte> buffer, CancellationToken cancellationToken)
        {
            if (Turn is { } turn)
            {
                _ = await _transport.ReadAsync(Memory<byte>.Empty, cancellationToken);
                await turn.TakeAsync(cancellationToken);
            }

            _read ??= ArrayPool<byte>.Shared.Rent(ReadSize);
            try
            {
                _start = 0;
                _end = 0;
                _end = await _transport.ReadAsync(_read, cancellationToken);
                return Take(buffer.Span);
            }
            finally
            {
                ReleaseIfEmpty();
            }
        }

        // Reads as soon as there may be something. TLS takes it right after; were it woken for nothing, it would hold its own buffer and this one until the
        // peer speaks again.
        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
        private async ValueTask<int> WaitAsync(IPolledStream polled, CancellationToken cancellationToken)
        {
            while (true)
            {
                await polled.WaitForEventAsync(cancellationToken);
                _read ??= ArrayPool<byte>.Shared.Rent(ReadSize);
                _start = 0;
                _end = 0;
                try
                {
                    if (polled.TryRead(_read, out _end))
                    {
                        return 0;
                    }
                }
                finally
                {
                    ReleaseIfEmpty();
                }
            }
        }

        private static async ValueTask WaitOutOfTurnAsync(ValueTask write, HandshakeTurn turn, CancellationToken cancellationToken)
        {
            turn.GiveBack();
            await write;
            await turn.TakeAsync(cancellationToken);
        }

        private int Take(Span<byte> buffer)
        {
            var count = Math.Min(buffer.Length, _end - _start);
            _read.AsSpan(_start, count).CopyTo(buffer);
            _start += count;
            ReleaseIfEmpty();
            return count;
        }

        private void ReleaseIfEmpty()
        {
            if (_read is not null && !HasBuffered)
            {
                ArrayPool<byte>.Shared.Return(_read);
                _read = null;
            }
        }
    }
}
