using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Security.Cryptography;

namespace Mesh.Hbone.Transport;

/// <summary>What is called of OpenSSL 3 (libssl(7), libcrypto(7)), in its own names.</summary>
internal static unsafe partial class OpenSslLibrary
{
    /// <summary>The switch (<see cref="AppContext"/>) that leaves TLS to the runtime's SslStream.</summary>
    public const string UseSslStreamSwitch = "Mesh.Hbone.UseSslStream";

    private const string Ssl = "libssl.so.3";
    private const string Crypto = "libcrypto.so.3";

    private static readonly bool IsThere = OperatingSystem.IsLinux() && IsTheRuntimes();

    /// <summary>Whether OpenSSL is to be called directly: it is there, it is the one that the runtime uses, whose keys it is given, and the switch is not set.</summary>
    [SupportedOSPlatformGuard("linux")]
    public static bool IsUsable => IsThere && !(AppContext.TryGetSwitch(UseSslStreamSwitch, out var usesSslStream) && usesSslStream);

    /// <summary>Says why the calls of this thread have failed, and forgets it.</summary>
    public static string TakeErrors()
    {
        // The first is the cause; those after it say what else did not work because of it.
        var first = ERR_get_error();
        ERR_clear_error();
        if (first == 0)
        {
            return "OpenSSL says no reason";
        }

        Span<byte> text = stackalloc byte[256];
        fixed (byte* start = text)
        {
            ERR_error_string_n(first, start, (nuint)text.Length);
            return Marshal.PtrToStringUTF8((nint)start)!;
        }
    }

    [SupportedOSPlatform("linux")]
    private static bool IsTheRuntimes()
    {
        try
        {
            return NativeLibrary.TryLoad(Ssl, out _) && NativeLibrary.TryLoad(Crypto, out _) && (long)OpenSSL_version_num() == SafeEvpPKeyHandle.OpenSslVersion;
        }
        catch (Exception e) when (e is EntryPointNotFoundException or PlatformNotSupportedException or CryptographicException)
        {
            return false;
        }
    }

    // <openssl/ssl.h>, <openssl/tls1.h>
    public const int SSL_ERROR_WANT_READ = 2;
    public const int SSL_ERROR_ZERO_RETURN = 6;
    public const int SSL_VERIFY_PEER = 0x01;
    public const int SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 0x02;
    public const int SSL_CTRL_MODE = 33;
    public const int SSL_CTRL_SET_READ_AHEAD = 41;
    public const int SSL_CTRL_SET_SESS_CACHE_MODE = 44;
    public const int SSL_CTRL_CHAIN_CERT = 89;
    public const int SSL_CTRL_CLEAR_MODE = 78;
    public const int SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
    public const int SSL_CTRL_SET_MAX_PROTO_VERSION = 124;
    public const int SSL_MODE_RELEASE_BUFFERS = 0x10;
    public const int SSL_SESS_CACHE_OFF = 0;
    public const int SSL_TLSEXT_ERR_OK = 0;
    public const int SSL_TLSEXT_ERR_ALERT_FATAL = 2;
    public const nuint SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE = (ERR_LIB_SSL << ERR_LIB_OFFSET) | 199;
    public const int TLS1_3_VERSION = 0x0304;
    public const ulong SSL_OP_NO_TICKET = 1 << 14;
    public const ulong SSL_OP_NO_COMPRESSION = 1 << 17;
    public const ulong SSL_OP_CIPHER_SERVER_PREFERENCE = 1 << 22;

    // <openssl/err.h>
    private const uint ERR_LIB_SSL = 20;
    private const int ERR_LIB_OFFSET = 23;

    // <openssl/x509_vfy.h>
    public const int X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY = 20;
    public const int X509_V_ERR_CERT_HAS_EXPIRED = 10;
    public const int X509_V_ERR_CERT_REVOKED = 23;
    public const int X509_V_ERR_INVALID_PURPOSE = 26;
    public const int X509_V_ERR_CERT_REJECTED = 28;

    // <openssl/bio.h>
    public const int BIO_TYPE_SOURCE_SINK = 0x0400;
    public const int BIO_CTRL_FLUSH = 11;
    public const int BIO_FLAGS_READ = 0x01;
    public const int BIO_FLAGS_RWS = 0x07;
    public const int BIO_FLAGS_SHOULD_RETRY = 0x08;

    [LibraryImport(Ssl)]
    public static partial nint TLS_method();

    [LibraryImport(Ssl)]
    public static partial nint SSL_CTX_new(nint method);

    [LibraryImport(Ssl)]
    public static partial void SSL_CTX_free(nint context);

    [LibraryImport(Ssl)]
    public static partial nint SSL_CTX_ctrl(OpenSslContext context, int command, nint number, nint pointer);

    [LibraryImport(Ssl)]
    public static partial ulong SSL_CTX_set_options(OpenSslContext context, ulong options);

    [LibraryImport(Ssl)]
    public static partial int SSL_CTX_set_num_tickets(OpenSslContext context, nuint count);

    [LibraryImport(Ssl, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SSL_CTX_set_ciphersuites(OpenSslContext context, string names);

    [LibraryImport(Ssl)]
    public static partial int SSL_CTX_set_alpn_protos(OpenSslContext context, ReadOnlySpan<byte> protocols, uint length);

    [LibraryImport(Ssl)]
    public static partial void SSL_CTX_set_alpn_select_cb(OpenSslContext context, delegate* unmanaged<nint, byte**, byte*, byte*, uint, void*, int> select, nint argument);

    [LibraryImport(Ssl)]
    public static partial void SSL_CTX_set_verify(OpenSslContext context, int mode, nint callback);

    [LibraryImport(Ssl)]
    public static partial void SSL_CTX_set_cert_verify_callback(OpenSslContext context, delegate* unmanaged<nint, void*, int> verify, nint argument);

    [LibraryImport(Ssl)]
    public static partial int SSL_CTX_use_certificate(OpenSslContext context, nint certificate);

    [LibraryImport(Ssl)]
    public static partial int SSL_CTX_use_PrivateKey(OpenSslContext context, SafeEvpPKeyHandle key);

    [LibraryImport(Ssl)]
    public static partial nint SSL_new(OpenSslContext context);

    [LibraryImport(Ssl)]
    public static partial void SSL_free(nint ssl);

    [LibraryImport(Ssl)]
    public static partial void SSL_set_bio(OpenSslSession ssl, nint read, nint write);

    [LibraryImport(Ssl)]
    public static partial void SSL_set_accept_state(OpenSslSession ssl);

    [LibraryImport(Ssl)]
    public static partial void SSL_set_connect_state(OpenSslSession ssl);

    [LibraryImport(Ssl)]
    public static partial nint SSL_ctrl(OpenSslSession ssl, int command, nint number, nint pointer);

    [LibraryImport(Ssl)]
    public static partial void SSL_set_default_read_buffer_len(OpenSslSession ssl, nuint length);

    [LibraryImport(Ssl)]
    public static partial int SSL_free_buffers(OpenSslSession ssl);

    [LibraryImport(Ssl)]
    public static partial byte* SSL_rstate_string(OpenSslSession ssl);

    [LibraryImport(Ssl)]
    public static partial int SSL_do_handshake(OpenSslSession ssl);

    [LibraryImport(Ssl)]
    public static partial int SSL_read(OpenSslSession ssl, Span<byte> buffer, int length);

    [LibraryImport(Ssl)]
    public static partial int SSL_peek(OpenSslSession ssl, Span<byte> buffer, int length);

    [LibraryImport(Ssl)]
    public static partial int SSL_write(OpenSslSession ssl, ReadOnlySpan<byte> octets, int length);

    [LibraryImport(Ssl)]
    public static partial int SSL_has_pending(OpenSslSession ssl);

    [LibraryImport(Ssl)]
    public static partial int SSL_shutdown(OpenSslSession ssl);

    [LibraryImport(Ssl)]
    public static partial int SSL_get_error(OpenSslSession ssl, int result);

    [LibraryImport(Ssl)]
    public static partial void SSL_get0_alpn_selected(OpenSslSession ssl, out byte* protocol, out uint length);

    [LibraryImport(Crypto)]
    public static partial nint X509_STORE_CTX_get0_untrusted(nint context);

    [LibraryImport(Crypto)]
    public static partial void X509_STORE_CTX_set_error(nint context, int error);

    [LibraryImport(Crypto)]
    [SuppressGCTransition]
    public static partial int OPENSSL_sk_num(nint stack);

    [LibraryImport(Crypto)]
    [SuppressGCTransition]
    public static partial nint OPENSSL_sk_value(nint stack, int index);

    [LibraryImport(Crypto)]
    public static partial nint d2i_X509(nint* certificate, byte** octets, nint length);

    [LibraryImport(Crypto)]
    public static partial int i2d_X509(nint certificate, byte** octets);

    [LibraryImport(Crypto)]
    public static partial void X509_free(nint certificate);

    [LibraryImport(Crypto)]
    public static partial int BIO_get_new_index();

    [LibraryImport(Crypto, StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint BIO_meth_new(int type, string name);

    [LibraryImport(Crypto)]
    public static partial int BIO_meth_set_read(nint method, delegate* unmanaged<nint, byte*, int, int> read);

    [LibraryImport(Crypto)]
    public static partial int BIO_meth_set_write(nint method, delegate* unmanaged<nint, byte*, int, int> write);

    [LibraryImport(Crypto)]
    public static partial int BIO_meth_set_ctrl(nint method, delegate* unmanaged<nint, int, nint, void*, nint> control);

    [LibraryImport(Crypto)]
    public static partial nint BIO_new(nint method);

    [LibraryImport(Crypto)]
    [SuppressGCTransition]
    public static partial void BIO_set_flags(nint bio, int flags);

    [LibraryImport(Crypto)]
    [SuppressGCTransition]
    public static partial void BIO_clear_flags(nint bio, int flags);

    [LibraryImport(Crypto)]
    public static partial nuint ERR_get_error();

    [LibraryImport(Crypto)]
    public static partial nuint ERR_peek_error();

    [LibraryImport(Crypto)]
    public static partial void ERR_clear_error();

    [LibraryImport(Crypto)]
    public static partial void ERR_error_string_n(nuint error, byte* text, nuint length);

    [LibraryImport(Crypto)]
    private static partial nuint OpenSSL_version_num();
}
