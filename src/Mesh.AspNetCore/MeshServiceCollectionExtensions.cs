using Mesh.AspNetCore;
using Mesh.AspNetCore.Authentication;
using Mesh.AspNetCore.Client;
using Mesh.AspNetCore.Server;
using Mesh.Core.Identity;
using Mesh.Core.Workloads;
using Mesh.Hbone.Client;
using Mesh.Hbone.Transport;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Puts an application into the mesh.</summary>
public static class MeshServiceCollectionExtensions
{
    /// <summary>Adds what the endpoint (<c>ListenHbone</c>) and the clients (<c>AddMesh</c> of an HttpClient) need. Called again, it adds nothing twice; every <paramref name="configure"/> runs.</summary>
    /// <remarks>
    /// An <see cref="ICertificateAuthority"/> must be registered too. A <see cref="MeshState"/>, a <see cref="TransportFactory"/> and a
    /// <see cref="TimeProvider"/> that are registered are used. <see cref="MeshAuthenticationDefaults.AuthenticationScheme"/> becomes the default
    /// authentication scheme; a later <c>AddAuthentication</c> with another one goes before it.
    /// </remarks>
    /// <exception cref="OptionsValidationException">At start; names the setting, its value and what is allowed.</exception>
    public static IServiceCollection AddMesh(this IServiceCollection services, Action<MeshOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        services.AddOptions<MeshOptions>().Configure(configure).ValidateOnStart();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<MeshOptions>, MeshOptionsValidator>());
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<MeshState>();
        services.TryAddSingleton<TransportFactory>(_ => new SocketTransportFactory());
        services.TryAddSingleton(provider => new WorkloadCertificates(
            provider.GetRequiredService<ICertificateAuthority>(),
            options: null,
            provider.GetRequiredService<TimeProvider>(),
            random: null,
            provider.GetRequiredService<ILogger<WorkloadCertificates>>()));
        services.TryAddSingleton(provider => new HbonePool(
            new HboneClient(
                provider.GetRequiredService<WorkloadCertificates>(),
                provider.GetRequiredService<IOptions<MeshOptions>>().Value.Hbone,
                provider.GetRequiredService<TransportFactory>(),
                provider.GetRequiredService<TimeProvider>(),
                provider.GetRequiredService<ILogger<HboneClient>>(),
                provider.GetRequiredService<IOptions<MeshOptions>>().Value.TrustDomainAliases),
            provider.GetRequiredService<IOptions<MeshOptions>>().Value.Pool));
        services.TryAddSingleton<MeshConnector>();
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IConnectionListenerFactory, HboneConnectionListenerFactory>());
        if (services.All(service => service.ServiceType != typeof(MeshAuthenticationHandler)))
        {
            AddAuthentication(services);
        }

        return services;
    }
    // The core only: AddAuthentication would bring data protection, and keys on disk, which nothing here needs.
    private static void AddAuthentication(IServiceCollection services)
    {
        services.AddWebEncoders();
        services.AddTransient<MeshAuthenticationHandler>();
        services.AddAuthenticationCore(static options =>
        {
            options.DefaultScheme ??= MeshAuthenticationDefaults.AuthenticationScheme;
            options.AddScheme<MeshAuthenticationHandler>(MeshAuthenticationDefaults.AuthenticationScheme, displayName: null);
        });
    }
}
