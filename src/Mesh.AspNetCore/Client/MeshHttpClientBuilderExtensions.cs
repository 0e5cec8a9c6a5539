using Mesh.AspNetCore.Client;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>HttpClients that go through the mesh.</summary>
public static class MeshHttpClientBuilderExtensions
{
    /// <summary>Sends the requests of a client through tunnels, with the application's identity. URLs begin with <c>http://</c>: the tunnel is the TLS.</summary>
    /// <remarks>
    /// Replaces the client's primary handler; what replaces it after that goes round the mesh. The name or address of the URL is looked up in the <c>MeshState</c>; what the mesh does not know fails, it is
    /// not sent in plain text. No proxy of the environment is used, no redirect followed. Needs <c>services.AddMesh</c>.
    /// </remarks>
    /// <param name="builder">The client.</param>
    /// <param name="waypoint">Sends everything to a waypoint; null to ask the mesh for each connection.</param>
    public static IHttpClientBuilder AddMesh(this IHttpClientBuilder builder, MeshWaypoint? waypoint = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.ConfigurePrimaryHttpMessageHandler(services =>
        {
            var connector = services.GetRequiredService<MeshConnector>();
            return new SocketsHttpHandler
            {
                UseProxy = false,
                AllowAutoRedirect = false,
                UseCookies = false,
                ConnectCallback = async (context, cancellationToken) =>
                    (await connector.ConnectAsync(context.DnsEndPoint.Host, context.DnsEndPoint.Port, waypoint, cancellationToken)).AsStream(),
            };
        });
    }
}
