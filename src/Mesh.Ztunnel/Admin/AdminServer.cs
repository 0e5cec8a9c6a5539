using System.Net;
using System.Text;
using Mesh.Hbone.Transport;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Mesh.Ztunnel.Admin;

/// <summary>Administration, for who is on this machine: what is going on, and a few commands (ztunnel §10.4).</summary>
internal sealed class AdminServer : IAsyncDisposable
{
    private const string Usage = """
        usage: POST /logging                      shows what is logged
               POST /logging?level=LEVEL          sets the level of all
               POST /logging?level=TARGET=LEVEL   sets the level of a target; several with commas between them
               POST /logging?reset                comes back to what was set at start, before a level that is given too
        levels: error, warn, info, debug, trace, off

        """;

    private readonly AdminContext _context;
    private readonly SameOrigin _origin;
    private readonly StatusTables _tables;
    private readonly ILogger _logger;
    private AdminHost? _host;

    private AdminServer(AdminContext context, ConnectionHistory history, IReadOnlyList<IPEndPoint> endPoints)
    {
        _context = context;
        _tables = new StatusTables(context, history);
        _origin = new SameOrigin(endPoints);
        _logger = context.Loggers.CreateLogger<AdminServer>();
    }

    /// <summary>Listens on <see cref="ZtunnelOptions.AdminPort"/>, which must be set.</summary>
    /// <exception cref="IOException">The port cannot be had.</exception>
    public static async Task<AdminServer> StartAsync(AdminContext context, ConnectionHistory history, CancellationToken cancellationToken)
    {
        var endPoints = EndPoints(context.Options);
        var server = new AdminServer(context, history, endPoints);
        server._host = await AdminHost.StartAsync(endPoints, context.Loggers, pipeline => pipeline.Run(server.AnswerAsync), cancellationToken);
        return server;
    }

    public ValueTask DisposeAsync() => _host?.DisposeAsync() ?? default;

    private static List<IPEndPoint> EndPoints(ZtunnelOptions options)
    {
        IPAddress[] addresses = options.AdminIsOnListenAddress ? [options.ListenAddress!]
            : options.IPv6Enabled && new SocketTransportFactory().CanBind(IPAddress.IPv6Loopback) ? [IPAddress.Loopback, IPAddress.IPv6Loopback]
            : [IPAddress.Loopback];
        return [.. addresses.Select(address => new IPEndPoint(address, options.AdminPort!.Value))];
    }

    private async Task AnswerAsync(HttpContext context)
    {
        var headers = context.Response.Headers;
        headers.XContentTypeOptions = "nosniff";
        headers.ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Referrer-Policy"] = "no-referrer";
        headers.CacheControl = "no-store";
        if (_origin.Refuse(context.Request) is { } reason)
        {
            _logger.RequestRefused(context.Request.Path, reason);
            await TextAsync(context, StatusCodes.Status403Forbidden, $"{reason}\n");
            return;
        }

        try
        {
            await RouteAsync(context);
        }
        catch (Exception e) when (e is not OperationCanceledException && !context.Response.HasStarted)
        {
            _logger.RequestFailed(context.Request.Path, e);
            await TextAsync(context, StatusCodes.Status500InternalServerError, $"{e.Message}\n");
        }
    }

    private Task RouteAsync(HttpContext context) => context.Request.Path.Value switch
    {
        "/" => FileAsync(context, "text/html; charset=utf-8", () => Encoding.UTF8.GetBytes(StatusPage.Write(_context.Options, _tables.Read()))),
        "/page/page.js" => FileAsync(context, "text/javascript; charset=utf-8", () => Resource("page/page.js")),
        "/page/page.css" => FileAsync(context, "text/css; charset=utf-8", () => Resource("page/page.css")),
        "/page/icon.svg" => FileAsync(context, "image/svg+xml", () => Resource("page/icon.svg")),
        "/api/status" => JsonAsync(context, output => new StatusDump(_context, output).WriteAsync(_tables.Read(), context.RequestAborted)),
        "/config_dump" => JsonAsync(context, output => new ConfigDump(_context, output).WriteAsync(context.RequestAborted)),
        "/certificates" => JsonAsync(context, output => new ConfigDump(_context, output).WriteCertificatesAsync(context.RequestAborted)),
        "/connections" => JsonAsync(context, output => new ConnectionDump(_context, output).WriteAsync(context.RequestAborted)),
        "/logging" => PostAsync(context, SetLogLevelsAsync),
        "/quitquitquit" => PostAsync(context, QuitAsync),
        _ => TextAsync(context, StatusCodes.Status404NotFound, "not found\n"),
    };

    private Task SetLogLevelsAsync(HttpContext context)
    {
        if (_context.LogLevels is not { } levels)
        {
            return TextAsync(context, StatusCodes.Status404NotFound, "what is logged is the business of the program around\n");
        }

        var query = context.Request.Query;
        IReadOnlyList<KeyValuePair<string, LogLevel>>? rules = [];
        if (query.Keys.Any(key => key is not ("level" or "reset")) || (query.TryGetValue("level", out var text) && !Telemetry.LogLevels.TryParse(text.ToString(), out rules)))
        {
            return TextAsync(context, StatusCodes.Status400BadRequest, Usage);
        }

        if (query.ContainsKey("reset"))
        {
            levels.Reset();
        }

        levels.Merge(rules);
        if (query.Count > 0)
        {
            _logger.LogLevelSet(levels.ToString(), Client(context));
        }

        return TextAsync(context, StatusCodes.Status200OK, $"current log level is {levels}\n");
    }

    private Task QuitAsync(HttpContext context)
    {
        _logger.EndRequested(Client(context));

        // After the answer: the end waits for requests, but not for long.
        context.Response.OnCompleted(() =>
        {
            _context.Lifetime.StopApplication();
            return Task.CompletedTask;
        });
        return TextAsync(context, StatusCodes.Status200OK, "shutdown now\n");
    }

    private static async Task PostAsync(HttpContext context, Func<HttpContext, Task> answer)
    {
        if (AdminHost.Allows(context, HttpMethods.Post))
        {
            await answer(context);
        }
    }

    private static async Task JsonAsync(HttpContext context, Func<System.IO.Pipelines.PipeWriter, Task> answer)
    {
        if (AdminHost.Allows(context, HttpMethods.Get))
        {
            context.Response.ContentType = "application/json; charset=utf-8";
            await answer(context.Response.BodyWriter);
        }
    }

    private static async Task FileAsync(HttpContext context, string type, Func<byte[]> content)
    {
        if (AdminHost.Allows(context, HttpMethods.Get))
        {
            var octets = content();
            context.Response.ContentType = type;
            context.Response.ContentLength = octets.Length;
            await context.Response.Body.WriteAsync(octets, context.RequestAborted);
        }
    }

    private static byte[] Resource(string name)
    {
        using var stream = typeof(AdminServer).Assembly.GetManifestResourceStream(name) ?? throw new InvalidOperationException($"the resource {name} is missing from the build");
        var octets = new byte[stream.Length];
        stream.ReadExactly(octets);
        return octets;
    }

    private static Task TextAsync(HttpContext context, int status, string text)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/plain; charset=utf-8";
        return context.Response.WriteAsync(text, context.RequestAborted);
    }

    private static IPEndPoint Client(HttpContext context) => new(context.Connection.RemoteIpAddress ?? IPAddress.None, context.Connection.RemotePort);
}
