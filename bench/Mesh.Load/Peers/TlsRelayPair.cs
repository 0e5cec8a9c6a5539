using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Mesh.Load.Peers;

/// <summary>Two relays of another maker: plain TCP into the first, mutual TLS 1.3 to the second, plain TCP to the application. One TLS connection for each of the load's.</summary>
internal sealed class TlsRelayPair : LoadPeer
{
    private const int TlsPort = 15008;
    private readonly IPEndPoint _near;

    private TlsRelayPair(string name, IPEndPoint near, IPEndPoint far, int maxConnections)
    {
        Name = name;
        MaxConnections = maxConnections;
        TlsEndPoint = far;
        _near = near;
    }

    public override string Name { get; }

    public override int MaxConnections { get; }

    public override IPEndPoint TlsEndPoint { get; }

    public override async Task<Stream> ConnectAsync() => await Sockets.ConnectAsync(_near);

    // A session that is resumed proves nothing anew, so all peers do without it: a connection is a whole handshake.
    public static async Task<LoadPeer> StartNginxAsync(PeerFiles files)
    {
        var pair = new TlsRelayPair("nginx", new(IPAddress.Parse("127.92.0.1"), 8081), new(IPAddress.Parse("127.92.0.2"), TlsPort), int.MaxValue);
        foreach (var (name, server) in new[]
        {
            ("near", $"""
                listen {pair._near} backlog=4096 reuseport;
                proxy_pass {pair.TlsEndPoint};
                proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse off;
                proxy_ssl_certificate {files.PathOf("near.crt")}; proxy_ssl_certificate_key {files.PathOf("near.key")};
                proxy_ssl_trusted_certificate {files.Root}; proxy_ssl_verify on; proxy_ssl_name far;
                """),
            ("far", $"""
                listen {pair.TlsEndPoint} ssl backlog=4096 reuseport;
                proxy_pass {Application.EndPoint};
                ssl_protocols TLSv1.3; ssl_session_tickets off;
                ssl_certificate {files.PathOf("far.crt")}; ssl_certificate_key {files.PathOf("far.key")};
                ssl_client_certificate {files.Root}; ssl_verify_client on;
                """),
        })
        {
            var configuration = files.Write(
                $"nginx-{name}.conf",
                $$"""
                load_module /usr/lib/nginx/modules/ngx_stream_module.so;
                daemon off; worker_processes {{Environment.ProcessorCount}}; pid {{files.PathOf($"nginx-{name}.pid")}}; error_log stderr crit;
                events { worker_connections 19000; }
                stream { proxy_buffer_size 64k; tcp_nodelay on; server { {{server}} } }
                """);
            pair.Start(new ProcessStartInfo("nginx", ["-c", configuration, "-e", "stderr"]));
        }

        await pair.WaitUntilListeningAsync();
        return pair;
    }

    public static async Task<LoadPeer> StartHaproxyAsync(PeerFiles files)
    {
        // Two files for each connection in one process.
        var pair = new TlsRelayPair("haproxy", new(IPAddress.Parse("127.93.0.1"), 8081), new(IPAddress.Parse("127.93.0.2"), TlsPort), 9_000);
        foreach (var (name, bind, server) in new[]
        {
            ("near", $"{pair._near}", $"{pair.TlsEndPoint} ssl crt {files.PathOf("near.pem")} ca-file {files.Root} verify required ssl-min-ver TLSv1.3 no-ssl-reuse"),
            ("far", $"{pair.TlsEndPoint} ssl crt {files.PathOf("far.pem")} ca-file {files.Root} verify required ssl-min-ver TLSv1.3 no-tls-tickets", $"{Application.EndPoint}"),
        })
        {
            var configuration = files.Write(
                $"haproxy-{name}.cfg",
                $"""
                global
                    nbthread {Environment.ProcessorCount}
                    maxconn 9500
                defaults
                    mode tcp
                    timeout connect 10s
                    timeout client 10m
                    timeout server 10m
                listen relay
                    bind {bind}
                    server next {server}

                """);
            pair.Start(new ProcessStartInfo("haproxy", ["-db", "-q", "-f", configuration]));
        }

        await pair.WaitUntilListeningAsync();
        return pair;
    }

    private Task WaitUntilListeningAsync() => WaitUntilAsync(
        async () =>
        {
            try
            {
                await using var near = await Sockets.ConnectAsync(_near);
                await using var far = await Sockets.ConnectAsync(TlsEndPoint);
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        },
        Name);
}
