using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Transport;
using Mesh.Ztunnel;
using Mesh.Ztunnel.Telemetry;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers a ztunnel.</summary>
public static class ZtunnelServiceCollectionExtensions
{
    /// <summary>Adds a ztunnel that starts and stops with the host. Called again, it adds nothing twice; every <paramref name="configure"/> runs.</summary>
    /// <remarks>
    /// An <see cref="ICertificateAuthority"/> must be registered too. A <see cref="MeshState"/>, a <see cref="TransportFactory"/> and a
    /// <see cref="TimeProvider"/> that are registered are used; otherwise the ztunnel brings its own.
    /// </remarks>
    /// <exception cref="OptionsValidationException">At start; names the setting, its value and what is allowed.</exception>
    public static IServiceCollection AddZtunnel(this IServiceCollection services, Action<ZtunnelOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        services.AddOptions<ZtunnelOptions>().Configure(configure).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<ZtunnelOptions>, ZtunnelOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<Random>(_ => new SharedRandom());
        services.TryAddSingleton<MeshState>();
        services.TryAddSingleton<TransportFactory>(provider => new SocketTransportFactory(provider.GetRequiredService<IOptions<ZtunnelOptions>>().Value.Sockets));
        services.TryAddSingleton(provider => new WorkloadCertificates(
            provider.GetRequiredService<ICertificateAuthority>(),
            options: null,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<Random>(),
            provider.GetRequiredService<ILogger<WorkloadCertificates>>()));
        services.TryAddSingleton<AccessLog>();
        services.AddMetrics();
        services.TryAddSingleton<ZtunnelMetrics>();
        services.AddOptions<HostOptions>().Configure<IOptions<ZtunnelOptions>>(
            static (host, ztunnel) => host.ShutdownTimeout = ztunnel.Value.TerminationDeadline + TimeSpan.FromSeconds(5));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, ZtunnelService>());
        return services;
    }
}
