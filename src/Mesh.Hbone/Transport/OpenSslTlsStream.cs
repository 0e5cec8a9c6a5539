using System.Buffers;
using System.Net.Security;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Mesh.Hbone.Http2;
using static Mesh.Hbone.Transport.OpenSslLibrary;

namespace Mesh.Hbone.Transport;

/// <summary>TLS by OpenSSL, called directly: it reads from the socket and writes to it by itself, so that nothing is copied between the two.</summary>
/// <remarks>
/// A side of a connection is one object of OpenSSL's, which the reader and the writer share: the lock is held while one of them is in OpenSSL, where nothing waits. What
/// the socket does not take is kept, and written without the lock.
/// </remarks>
[SupportedOSPlatform("linux")]
internal sealed class OpenSslTlsStream : TlsStream
{
    // Eight records; a socket has seldom more.
    private const int ReadSize = 128 * 1024;
    private const int RecordSize = 16 * 1024;

    // What the socket does not take of one write is kept; it is no more than this.
    private const int MaxEncrypted = 256 * 1024;

    // A chain is two or three long. Whoever shows more has not proved anything yet.
    private const int MaxPeerCertificates = 16;

    private static readonly nint TransportMethod = CreateTransportMethod();

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
    private bool _isFlushing;
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

    public override SslApplicationProtocol NegotiatedApplicationProtocol => _applicationProtocol;

    /// <summary>Shakes hands.</summary>
    /// <inheritdoc cref="TlsStream.AuthenticateAsClientAsync"/>
    public static async Task<TlsStream> AuthenticateAsync(Stream transport, TlsParameters parameters, CancellationToken cancellationToken)
    {
        OpenSslTlsStream? stream = null;
        try
        {
            stream = new OpenSslTlsStream(transport, parameters);
            await stream.AuthenticateAsync(parameters.IsServer, cancellationToken);
            return stream;
        }
        catch
        {
            await (stream ?? transport).DisposeAsync();
            throw;
        }
    }

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
            lock (_gate)
            {
                _isDisposed = true;
                _ssl.Dispose();
            }
        }

        base.Dispose(disposing);
    }

    private async Task AuthenticateAsync(bool isServer, CancellationToken cancellationToken)
    {
        var turn = new HandshakeTurn();
        try
        {
            for (var isDone = false; !isDone;)
            {
                if (isServer)
                {
                    // Whoever waits for the network does not keep others from computing.
                    turn.GiveBack();
                    await WaitForInputAsync(cancellationToken);
                }

                await turn.TakeAsync(cancellationToken);
                isDone = ShakeHands(out var isToFlush, out var refusal);
                if (isToFlush)
                {
                    turn.GiveBack();
                    await FlushOutputAsync(cancellationToken);
                }

                if (refusal is not null)
                {
                    throw refusal;
                }

                isServer = true;
            }
        }
        finally
        {
            turn.GiveBack();
        }
    }

    // As far as it can be done with what has come. A refusal may have to be told to the peer before it is thrown.
    private bool ShakeHands(out bool isToFlush, out Exception? refusal)
    {
        lock (_gate)
        {
            Enter_NeedsLock();
            try
            {
                refusal = null;
                var result = SSL_do_handshake(_ssl);
                var error = result == 1 ? 0 : SSL_get_error(_ssl, result);
                if (result == 1)
                {
                    refusal = Establish_NeedsLock();
                }
                else if (error == SSL_ERROR_WANT_READ)
                {
                    _ = SSL_free_buffers(_ssl);
                }
                else
                {
                    refusal = Refusal_NeedsLock();
                }

                isToFlush = BeginFlush_NeedsLock();
                return result == 1;
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    private AuthenticationException? Establish_NeedsLock()
    {
        _applicationProtocol = ApplicationProtocol(_ssl);
        _handshake = null;

        // From now on many records are read at once. A peer that has not proved who it is gets no such buffer.
        _ = SSL_ctrl(_ssl, SSL_CTRL_SET_READ_AHEAD, 1, 0);
        SSL_set_default_read_buffer_len(_ssl, ReadSize);
        _ = SSL_free_buffers(_ssl);
        return _isPeerVerified ? null : new AuthenticationException("the peer's certificate was not verified");
    }

    private Exception Refusal_NeedsLock()
    {
        if (_failure is not null)
        {
            return _failure as IOException ?? (Exception)new AuthenticationException(_failure.Message, _failure);
        }

        if (_hasEnded)
        {
            return new IOException("the peer closed the connection during the TLS handshake");
        }

        if (ReasonOf(ERR_peek_error()) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        {
            _ = _handshake!.Verify(this, certificate: null, chain: null, SslPolicyErrors.RemoteCertificateNotAvailable);
        }

        return new AuthenticationException($"the TLS handshake failed: {TakeErrors()}");
    }

    // False when nothing is there.
    private bool TryRead(Span<byte> buffer, out int count)
    {
        lock (_gate)
        {
            Enter_NeedsLock();
            try
            {
                count = 0;
                do
                {
                    // A record at most.
                    var read = SSL_read(_ssl, buffer[count..], buffer.Length - count);
                    if (read <= 0)
                    {
                        var isOver = IsOver_NeedsLock(read);
                        if (count == 0)
                        {
                            // A failure is no end.
                            ThrowIfFailed_NeedsLock();
                        }

                        return isOver || count > 0;
                    }

                    count += read;
                }
                while (count < buffer.Length);

                return true;
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    // Whether a read brings something, an end or a failure.
    private bool IsThere()
    {
        lock (_gate)
        {
            Enter_NeedsLock();
            try
            {
                Span<byte> one = stackalloc byte[1];
                var read = SSL_peek(_ssl, one, one.Length);
                return read > 0 || IsOver_NeedsLock(read);
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    // After a read that brought nothing: whether there will be nothing more, for an end or a failure.
    private bool IsOver_NeedsLock(int result)
    {
        var error = SSL_get_error(_ssl, result);
        if (error == SSL_ERROR_WANT_READ)
        {
            // Who is idle holds no buffer.
            _ = SSL_free_buffers(_ssl);
            return false;
        }

        // An end without close_notify is one as well: HTTP/2 tells by itself whether something is missing.
        if (error != SSL_ERROR_ZERO_RETURN && !_hasEnded)
        {
            _failure ??= new IOException($"TLS failed: {TakeErrors()}");
        }

        return true;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> WaitUntilThereAsync(CancellationToken cancellationToken)
    {
        do
        {
            await WaitForInputAsync(cancellationToken);
        }
        while (!IsThere());

        return 0;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> ReadLaterAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        int count;
        do
        {
            await WaitForInputAsync(cancellationToken);
        }
        while (!TryRead(buffer.Span, out count));

        return count;
    }

    private ValueTask<int> WaitForInputAsync(CancellationToken cancellationToken) =>
        _polled?.WaitForEventAsync(cancellationToken) ?? FillAsync(cancellationToken);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<int> FillAsync(CancellationToken cancellationToken)
    {
        _ = await _transport.ReadAsync(Memory<byte>.Empty, cancellationToken);
        _input ??= ArrayPool<byte>.Shared.Rent(ReadSize);
        _inputStart = 0;
        _inputEnd = 0;
        _inputEnd = await _transport.ReadAsync(_input, cancellationToken);
        _hasEnded = _inputEnd == 0;
        return 0;
    }

    private async ValueTask WritePartsAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken)
    {
        for (; !buffer.IsEmpty; buffer = buffer[Math.Min(buffer.Length, MaxEncrypted)..])
        {
            await WriteAsync(buffer[..Math.Min(buffer.Length, MaxEncrypted)], cancellationToken);
        }
    }

    private async ValueTask WriteOneByOneAsync(ReadOnlyMemory<byte> first, ReadOnlyMemory<byte> second)
    {
        await WriteAsync(first);
        await WriteAsync(second);
    }

    // Whether something is left to flush.
    private bool Encrypt(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        lock (_gate)
        {
            Enter_NeedsLock();
            try
            {
                _recordsToCome = RecordsOf(first.Length) + RecordsOf(second.Length);
                Encrypt_NeedsLock(first);
                Encrypt_NeedsLock(second);
                return BeginFlush_NeedsLock();
            }
            finally
            {
                _inCall = null;
            }
        }
    }

    private void Encrypt_NeedsLock(ReadOnlySpan<byte> octets)
    {
        if (octets.IsEmpty)
        {
            return;
        }

        // All of it or nothing: what the socket does not take is kept here.
        if (SSL_write(_ssl, octets, octets.Length) != octets.Length)
        {
            _failure ??= new IOException($"TLS failed: {TakeErrors()}");
        }

        ThrowIfFailed_NeedsLock();
    }

    private static int RecordsOf(int length) => (length + RecordSize - 1) / RecordSize;

    private bool BeginFlush_NeedsLock() => _output.Length > 0 && !_isFlushing && (_isFlushing = true);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask FlushOutputAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _transport.WriteAsync(_output.Written, cancellationToken);
        }
        finally
        {
            lock (_gate)
            {
                _output.Release();
                _isFlushing = false;
            }
        }
    }

    // What comes before every call of OpenSSL.
    private void Enter_NeedsLock()
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        ThrowIfFailed_NeedsLock();
        _inCall = this;
        ERR_clear_error();
    }

    private void ThrowIfFailed_NeedsLock()
    {
        if (_failure is not null)
        {
            throw new IOException(_failure.Message, _failure);
        }
    }

    // As many octets as have come; -1 for nothing, 0 for the end.
    private int ReadTransport(Span<byte> buffer)
    {
        if (_polled is not null)
        {
            if (!_polled.TryRead(buffer, out var read))
            {
                return -1;
            }

            _hasEnded = read == 0;
            return read;
        }

        if (_inputStart == _inputEnd)
        {
            return _hasEnded ? 0 : -1;
        }

        var count = Math.Min(buffer.Length, _inputEnd - _inputStart);
        _input.AsSpan(_inputStart, count).CopyTo(buffer);
        _inputStart += count;
        if (_inputStart == _inputEnd)
        {
            ArrayPool<byte>.Shared.Return(_input!);
            _input = null;
        }

        return count;
    }

    private void WriteTransport(ReadOnlySpan<byte> octets)
    {
        _recordsToCome = Math.Max(0, _recordsToCome - 1);
        if (_isFlushing)
        {
            // Only the reader is here while the writer waits, with an alert: the connection has failed, and its peer does not read.
            return;
        }

        if (_polled is not null && _output.Length == 0)
        {
            octets = octets[_polled.TryWrite(octets, more: _recordsToCome > 0)..];
        }

        if (!octets.IsEmpty)
        {
            _output.Append(octets);
        }
    }

    // What the peer presents, the leaf first.
    private bool Verify(ReadOnlySpan<nint> certificates)
    {
        var parameters = _handshake!;
        var presented = new ReadOnlyMemory<byte>[certificates.Length];
        for (var i = 0; i < presented.Length; i++)
        {
            presented[i] = Encode(certificates[i]);
        }

        return parameters.Peer.TryAcceptAgain(presented) || Verify(parameters, presented);
    }

    private bool Verify(TlsParameters parameters, ReadOnlyMemory<byte>[] presented)
    {
        using var chain = new X509Chain { ChainPolicy = parameters.ChainPolicy };
        var certificates = new List<X509Certificate2>(presented.Length);
        try
        {
            certificates.AddRange(presented.Select(octets => X509CertificateLoader.LoadCertificate(octets.Span)));
            chain.ChainPolicy.ExtraStore.AddRange(certificates.Skip(1).ToArray());
            var errors = chain.Build(certificates[0]) ? SslPolicyErrors.None : SslPolicyErrors.RemoteCertificateChainErrors;
            return parameters.Verify(this, certificates[0], chain, errors);
        }
        finally
        {
            foreach (var certificate in chain.ChainElements.Select(element => element.Certificate).Concat(certificates))
            {
                certificate.Dispose();
            }
        }
    }

    private static unsafe byte[] Encode(nint certificate)
    {
        var octets = new byte[Math.Max(0, i2d_X509(certificate, null))];
        fixed (byte* start = octets)
        {
            var next = start;
            _ = i2d_X509(certificate, &next);
        }

        return octets;
    }

    private static unsafe SslApplicationProtocol ApplicationProtocol(OpenSslSession ssl)
    {
        SSL_get0_alpn_selected(ssl, out var protocol, out var length);
        return length == 0 ? default : new SslApplicationProtocol(new ReadOnlySpan<byte>(protocol, (int)length).ToArray());
    }

    private static unsafe nint CreateTransportMethod()
    {
        var method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "Mesh transport");
        return method != 0 && BIO_meth_set_read(method, &OnRead) == 1 && BIO_meth_set_write(method, &OnWrite) == 1 && BIO_meth_set_ctrl(method, &OnControl) == 1
            ? method
            : throw new InvalidOperationException($"OpenSSL takes no transport: {TakeErrors()}");
    }

    // What OpenSSL calls. No exception may leave: it is kept for who has called OpenSSL.
    [UnmanagedCallersOnly]
    private static unsafe int OnRead(nint bio, byte* buffer, int length)
    {
        BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
        var stream = _inCall!;
        try
        {
            var count = stream.ReadTransport(new Span<byte>(buffer, length));
            if (count < 0)
            {
                BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
            }

            return count;
        }
        catch (Exception e)
        {
            stream._failure ??= e;
            return -1;
        }
    }

    [UnmanagedCallersOnly]
    private static unsafe int OnWrite(nint bio, byte* octets, int length)
    {
        BIO_clear_flags(bio, BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY);
        var stream = _inCall!;
        try
        {
            stream.WriteTransport(new ReadOnlySpan<byte>(octets, length));
            return length;
        }
        catch (Exception e)
        {
            stream._failure ??= e;
            return -1;
        }
    }

    // Flushing is asked for, and done by who has called OpenSSL; the rest is for transports of other kinds.
    [UnmanagedCallersOnly]
    private static unsafe nint OnControl(nint bio, int command, nint number, void* pointer) => command == BIO_CTRL_FLUSH ? 1 : 0;

    /// <summary>Whether the peer's certificate is accepted (SSL_CTX_set_cert_verify_callback(3)).</summary>
    [UnmanagedCallersOnly]
    public static unsafe int OnPeerCertificate(nint store, void* argument)
    {
        var stream = _inCall!;
        try
        {
            var stack = X509_STORE_CTX_get0_untrusted(store);
            var count = OPENSSL_sk_num(stack);
            if (count is > 0 and <= MaxPeerCertificates)
            {
                Span<nint> certificates = stackalloc nint[count];
                for (var i = 0; i < count; i++)
                {
                    certificates[i] = OPENSSL_sk_value(stack, i);
                }

                stream._isPeerVerified = stream.Verify(certificates);
            }
            else
            {
                throw new AuthenticationException($"the peer presented {count} certificates; from 1 to {MaxPeerCertificates} are looked at");
            }
        }
        catch (Exception e)
        {
            stream._failure ??= e;
        }

        if (stream._isPeerVerified)
        {
            return 1;
        }

        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
        return 0;
    }

    /// <summary>Which of the client's protocols is taken (SSL_CTX_set_alpn_select_cb(3)): lengths of an octet, and names.</summary>
    [UnmanagedCallersOnly]
    public static unsafe int OnApplicationProtocols(nint ssl, byte** selected, byte* selectedLength, byte* offered, uint length, void* argument)
    {
        var wanted = _inCall!._handshake!.ApplicationProtocol.Protocol.Span;
        for (var rest = new ReadOnlySpan<byte>(offered, (int)length); rest.Length > 0 && rest.Length > rest[0]; rest = rest[(1 + rest[0])..])
        {
            if (rest.Slice(1, rest[0]).SequenceEqual(wanted))
            {
                *selected = offered + ((int)length - rest.Length + 1);
                *selectedLength = rest[0];
                return SSL_TLSEXT_ERR_OK;
            }
        }

        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
}
