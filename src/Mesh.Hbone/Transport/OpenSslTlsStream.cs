using System.Net.Security;
using System.Runtime.Versioning;
using System.Security.Authentication;
using Mesh.Hbone.Http2;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>TLS by OpenSSL, called directly: it reads from the socket and writes to it by itself, so that nothing is copied between the two.</summary>
/// <remarks>
/// A side of a connection is one object of OpenSSL's, which the reader and the writer share: the lock is held while one of them is in OpenSSL, where nothing waits. What
/// the socket does not take is kept, and written without the lock.
/// </remarks>
[SupportedOSPlatform("linux")]
internal sealed partial class OpenSslTlsStream : TlsStream, IPolledReader
{
    // Eight records; a socket has seldom more.
    private const int ReadSize = 128 * 1024;
    private const int RecordSize = 16 * 1024;

    // What the socket does not take of one write is kept; it is no more than this.
    private const int MaxEncrypted = 256 * 1024;

    // Enough for any handshake, and for thousands of changes of keys; data in between begins the count anew.
    private const int MaxReadWithoutData = 2 * ReadSize;

    // A chain is two or three long. Whoever shows more has not proved anything yet.
    private const int MaxPeerCertificates = 16;

    // OpenSSL calls back on the thread that has called it.
    [ThreadStatic]
    private static OpenSslTlsStream? _inCall;

    private readonly Lock _gate = new();
    private readonly Stream _transport;
    private readonly IPolledStream? _polled;
    private readonly OpenSslSession _ssl;

    // What a transport that cannot be polled has brought. The reader's.
    private byte[]? _input;
    private int _inputStart;
    private int _inputEnd;

    // Guarded by _gate.
    private readonly OutputBuffer _output = new();
    private bool _wasUsed;
    private bool _isFlushing;
    private bool _mayRead;
    private int _readWithoutData;
    private int _recordsToCome;
    private bool _hasEnded;
    private bool _isPeerVerified;
    private bool _isDisposed;
    private Exception? _failure;
    private TlsParameters? _handshake;
    private SslApplicationProtocol _applicationProtocol;

    private OpenSslTlsStream(Stream transport, TlsParameters parameters)
    {
        _transport = transport;
        _polled = transport as IPolledStream;
        _handshake = parameters;
        _ssl = new OpenSslSession(OpenSslContext.For(parameters));
        var bio = _ssl.IsInvalid ? 0 : BIO_new(TransportMethod);
        if (bio == 0)
        {
            throw new AuthenticationException($"TLS cannot begin: {TakeErrors()}");
        }

        SSL_set_bio(_ssl, bio, bio);
        if (parameters.IsServer)
        {
            SSL_set_accept_state(_ssl);
        }
        else
        {
            SSL_set_connect_state(_ssl);
        }
    }

    public bool IsReadable { get; private set; } = true;

    public override EventLoop? Loop => (_transport as PolledStream)?.Loop;

    public override SslApplicationProtocol NegotiatedApplicationProtocol => _applicationProtocol;

    public override async Task ShutdownAsync()
    {
        bool isToFlush;
        lock (_gate)
        {
            Enter_NeedsLock();
            try
            {
                // It says whether the peer has said so, too; either is right.
                _ = SSL_shutdown(_ssl);
                isToFlush = BeginFlush_NeedsLock();
            }
            finally
            {
                _inCall = null;
            }
        }

        if (isToFlush)
        {
            await FlushOutputAsync(CancellationToken.None);
        }
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        buffer.IsEmpty ? (IsThere() ? new ValueTask<int>(0) : WaitUntilThereAsync(cancellationToken))
        : TryRead(buffer.Span, out var count) ? new ValueTask<int>(count)
        : ReadLaterAsync(buffer, cancellationToken);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        buffer.Length > MaxEncrypted ? WritePartsAsync(buffer, cancellationToken)
        : Encrypt(buffer.Span, default) ? FlushOutputAsync(cancellationToken)
        : default;

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second) =>
        first.Length + second.Length > MaxEncrypted ? WriteOneByOneAsync(first, second)
        : Encrypt(first.Span, second.Span) ? FlushOutputAsync(CancellationToken.None)
        : default;

    public override void ReleaseIfIdle()
    {
        lock (_gate)
        {
            if (!_wasUsed && !_isDisposed && !HoldsInput(_ssl))
            {
                _ = SSL_free_buffers(_ssl);
            }

            _wasUsed = false;
        }
    }

    public override async ValueTask DisposeAsync()
    {
        BeginDispose();
        await _transport.DisposeAsync();
        await base.DisposeAsync();
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            BeginDispose();
            _transport.Dispose();
            lock (_gate)
            {
                _ssl.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    // Before the transport goes: whoever is woken by that is not to take it for the peer's end.
    private void BeginDispose()
    {
        lock (_gate)
        {
            _isDisposed = true;
        }
    }

    // What comes before every call of OpenSSL. Only who reads may read the transport: one reader at a time.
    private void Enter_NeedsLock(bool mayRead = false)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ThrowIfFailed_NeedsLock();
        _wasUsed = true;
        _mayRead = mayRead;
        _inCall = this;
        ERR_clear_error();
    }

    // OpenSSL before 3.0.14 gives a buffer back although the header of a record lies in it, or data that nobody has read yet (CVE-2024-4741). "RH": it waits for a header.
    private static unsafe bool HoldsInput(OpenSslSession ssl)
    {
        var state = SSL_rstate_string(ssl);
        return state[0] != (byte)'R' || state[1] != (byte)'H' || SSL_has_pending(ssl) != 0;
    }

    private void ThrowIfFailed_NeedsLock()
    {
        if (_failure is not null)
        {
            throw new IOException(_failure.Message, _failure);
        }
    }
}
